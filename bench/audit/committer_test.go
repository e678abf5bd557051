//go:build linux

package audit

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

func TestCommitter(t *testing.T) {
	const writers, each = 16, 200
	odd := errors.New("odd")
	var committed []int
	var batches int
	c := newCommitter(func(items []int) error {
		batches++
		if batches%2 == 1 {
			return odd
		}
		committed = append(committed, items...)
		return nil
	})
	var mu sync.Mutex
	var acknowledged []int
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				switch err := c.append(w*each + i); err {
				case nil:
					mu.Lock()
					acknowledged = append(acknowledged, w*each+i)
					mu.Unlock()
				case odd:
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	c.close()
	slices.Sort(committed)
	slices.Sort(acknowledged)
	if len(committed) == 0 || !slices.Equal(committed, acknowledged) {
		t.Errorf("%d items committed, %d acknowledged", len(committed), len(acknowledged))
	}
}

// Items that come during a commit go into the next commit together.
func TestCommitterGathers(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	var sizes []int
	c := newCommitter(func(items []int) error {
		sizes = append(sizes, len(items))
		if len(sizes) == 1 {
			close(begun)
			<-finish
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { c.append(0) })
	<-begun
	for i := range 9 {
		wg.Go(func() { c.append(i) })
	}
	for n := 0; n < 9; {
		c.mu.Lock()
		n = len(c.waiting)
		c.mu.Unlock()
	}
	close(finish)
	wg.Wait()
	c.close()
	if !slices.Equal(sizes, []int{1, 9}) {
		t.Errorf("commits of %v items, want 1 and 9", sizes)
	}
}
