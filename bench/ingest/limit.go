//go:build linux

package ingest

import (
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"

	"github.com/rampartlog/rampart/bench/child"
)

// limit does only the physical work: it writes the bodies to the disk, with one sync
// for all that came during the last one.
type limit struct {
	file *os.File
	kick chan struct{}

	mu      sync.Mutex
	waiting []*write
}

type write struct {
	body []byte
	done chan error
}

func serveLimit(c *child.Conn) error {
	var config serverConfig
	if err := c.Receive(&config); err != nil {
		return err
	}
	f, err := os.Create(config.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	l := &limit{file: f, kick: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.commit()
	}()
	if err := answer(c, l, func() {}); err != nil {
		return err
	}
	close(l.kick)
	<-ended
	return c.Send(struct{}{})
}

func (l *limit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		one := &write{body, make(chan error, 1)}
		l.mu.Lock()
		l.waiting = append(l.waiting, one)
		l.mu.Unlock()
		select {
		case l.kick <- struct{}{}:
		default: // a kick is pending, and the committer will see this body too
		}
		err = <-one.done
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (l *limit) commit() {
	var batch []*write
	var buf []byte
	for range l.kick {
		l.mu.Lock()
		batch, l.waiting = l.waiting, batch[:0]
		l.mu.Unlock()
		buf = buf[:0]
		for _, one := range batch {
			buf = append(buf, one.body...)
		}
		_, err := l.file.Write(buf)
		if err == nil {
			err = syscall.Fdatasync(int(l.file.Fd()))
		}
		for _, one := range batch {
			one.done <- err
		}
	}
}
