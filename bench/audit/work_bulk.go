//go:build linux

package audit

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

func doBulk(c *child.Conn, j *job, t target) error {
	heap, cpu := heapAlloc(), child.CPU()
	log, err := t.open(j.Dir, j.Mode)
	if err != nil {
		return err
	}
	batch := j.Batch
	if batch == 0 {
		batch = t.bulk
	}
	began := time.Now()
	buf := events(nil, 0, 0)
	for at := 0; at < j.Events; at += batch {
		buf = events(buf, at, min(at+batch, j.Events))
		if err := log.AppendAll(buf); err != nil {
			return err
		}
	}
	spent := time.Since(began)
	n, err := log.Len()
	if err != nil {
		return err
	}
	if n != j.Events {
		return fmt.Errorf("%d events in the log after %d", n, j.Events)
	}
	cpu = child.CPU() - cpu
	heap = heapAlloc() - heap
	runtime.KeepAlive(log)
	rest := child.CPU()
	if err := log.Close(); err != nil {
		return err
	}
	cpu += child.CPU() - rest
	disk, lines, err := sizes(j.Dir)
	if err != nil {
		return err
	}
	f := figures{
		"rate": float64(n) / spent.Seconds(), "cpu": cpu.Seconds() * 1e6 / float64(n),
		"disk": float64(disk) / (1 << 20), "heap": float64(heap) / (1 << 20),
		// Counted in lines of rampart's, so that larger files do not look like more speed.
		"mbs": float64(n) * lineSize / spent.Seconds() / 1e6,
	}
	if lines > 0 {
		f["index"] = 100 * float64(disk-lines) / float64(lines)
	}
	return c.Send(f)
}

// lineSize is the length of a line of rampart's log, with its newline.
const lineSize = 488

// sizes returns the bytes of all files in dir, and those of its segments.
func sizes(dir string) (all, lines int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all += info.Size()
		if filepath.Ext(path) == ".jsonl" {
			lines += info.Size()
		}
		return nil
	})
	return all, lines, err
}

// heapAlloc returns the bytes of the reachable heap.
func heapAlloc() int64 {
	runtime.GC()
	runtime.GC() // a sync.Pool drops its contents only in the second collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
