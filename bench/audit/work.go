package audit

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampartlog/rampart/bench/child"
)

// job is what a child is told to do with one target.
type job struct {
	Work    string
	Target  string
	Dir     string
	Mode    mode
	Events  int // that the log has, or is to get
	Writers int
	Batch   int  // of a bulk load; the target's own when 0
	Cores   int  // of the limit's verification; all when 0
	Check   bool // every event is there once
	Decode  bool
	Leave   bool // do not close the log: the child waits to be killed
	Long    bool // measure often enough for a steady median
}

// figures are what a child has measured, by the key of a column.
type figures map[string]float64

// Register names this package's child.
func Register() { child.Register("audit", serve) }

var works = map[string]func(c *child.Conn, j *job, t target) error{
	"append": doAppend, "bulk": doBulk, "verify": doVerify, "open": doOpen, "fill": doFill, "query": doQuery,
}

func serve(c *child.Conn) error {
	var j job
	if err := c.Receive(&j); err != nil {
		return err
	}
	t, err := targetOf(j.Target)
	if err != nil {
		return err
	}
	work, ok := works[j.Work]
	if !ok {
		return fmt.Errorf("no work %q", j.Work)
	}
	names()
	if err := work(c, &j, t); err != nil {
		return fmt.Errorf("%s, %s: %w", j.Target, j.Work, err)
	}
	return nil
}

// doAppend appends durably for as long as it is told, slice by slice, so that
// others can be measured in between; the disk's speed drifts.
func doAppend(c *child.Conn, j *job, t target) error {
	log, err := t.open(j.Dir, j.Mode)
	if err != nil {
		return err
	}
	if err := c.Send("open"); err != nil {
		return err
	}
	var (
		next  atomic.Int64
		times = make([][]time.Duration, j.Writers)
		errs  = make([]error, j.Writers)
		spent time.Duration
		cpu   = child.CPU()
	)
	for {
		var slice time.Duration
		if err := c.Receive(&slice); err != nil {
			return err
		}
		if slice == 0 {
			break
		}
		began := time.Now()
		var wg sync.WaitGroup
		for w := range j.Writers {
			wg.Go(func() {
				for before := time.Now(); before.Sub(began) < slice && errs[w] == nil; {
					errs[w] = log.Append(event(int(next.Add(1) - 1)))
					now := time.Now()
					times[w], before = append(times[w], now.Sub(before)), now
				}
			})
		}
		wg.Wait()
		spent += time.Since(began)
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if err := c.Send("slice"); err != nil {
			return err
		}
	}
	if err := log.Close(); err != nil {
		return err
	}
	cpu = child.CPU() - cpu // with what ran behind the slices
	all := slices.Concat(times...)
	slices.Sort(all)
	n := float64(len(all))
	return c.Send(figures{
		"events": n, "rate": n / spent.Seconds(), "cpu": cpu.Seconds() * 1e6 / n,
		"p50": 1e3 * all[len(all)/2].Seconds(), "p99": 1e3 * all[len(all)*99/100].Seconds(),
	})
}

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
	buf = nil
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
		// In lines of ours, so that who has larger files is not the faster one.
		"mbs": float64(n) * lineSize / spent.Seconds() / 1e6,
	}
	if lines > 0 {
		f["index"] = 100 * float64(disk-lines) / float64(lines)
	}
	return c.Send(f)
}

// lineSize is what a line of the log takes, with its newline.
const lineSize = 488

// sizes gives the bytes of all files in dir, and of its segments.
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

// heapAlloc is what is reachable.
func heapAlloc() int64 {
	runtime.GC()
	runtime.GC() // pools give up what they hold in two steps
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func doVerify(c *child.Conn, j *job, t target) error {
	cores := j.Cores
	if cores == 0 {
		cores = runtime.NumCPU()
	}
	var seen func([]byte) error
	if j.Check {
		there := make([]bool, j.Events)
		seen = func(line []byte) error {
			i, err := numberOf(line)
			if err != nil {
				return err
			}
			if i >= len(there) || there[i] {
				return fmt.Errorf("event %d is in the log twice, or was never acknowledged", i)
			}
			there[i] = true
			return nil
		}
	}
	var times []time.Duration
	cpu := child.CPU()
	for range 3 {
		began := time.Now()
		n, err := t.verify(j.Dir, cores, seen)
		if err != nil {
			return err
		}
		if n != j.Events {
			return fmt.Errorf("%d events in the log, %d were acknowledged", n, j.Events)
		}
		if times = append(times, time.Since(began)); t.once || !j.Long || times[0] > 5*time.Second {
			break
		}
	}
	cpu = (child.CPU() - cpu) / time.Duration(len(times))
	s, n := median(times).Seconds(), float64(j.Events)
	return c.Send(figures{"rate": n / s, "ms": 1e3 * s, "mbs": n * lineSize / s / 1e6, "cpu": cpu.Seconds() * 1e6 / n})
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// doOpen opens once, as a program that begins.
func doOpen(c *child.Conn, j *job, t target) error {
	began := time.Now()
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	spent := time.Since(began)
	n, err := log.Len()
	if err != nil {
		return err
	}
	if n != j.Events {
		return fmt.Errorf("%d events in the log, %d were acknowledged", n, j.Events)
	}
	if j.Leave {
		if err := log.Append(event(n)); err != nil {
			return err
		}
		n++
	}
	if err := c.Send(figures{"ms": 1e3 * spent.Seconds(), "events": float64(n)}); err != nil {
		return err
	}
	if j.Leave {
		return linger(c)
	}
	return log.Close()
}

// linger ends with the process, without an orderly end.
func linger(c *child.Conn) error {
	var never any
	return c.Receive(&never)
}

// liveFull is to what size the live segment of ours grows before it is left
// unclean: recovery reads no more than that one, which ends at 16 MiB.
const liveFull = 15 << 20

// doFill appends durably, says how many events the log has, and waits to be killed.
func doFill(c *child.Conn, j *job, t target) error {
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	n := j.Events
	// One by one, so that sqlite's own log has something to be recovered from.
	for range 100 {
		if err := log.Append(event(n)); err != nil {
			return err
		}
		n++
	}
	for j.Target == ours && j.Long {
		full, err := newestSize(j.Dir)
		if err != nil {
			return err
		}
		if full >= liveFull {
			break
		}
		batch := min(1000, max(1, int(liveFull-full)/lineSize))
		if err := log.AppendAll(events(nil, n, n+batch)); err != nil {
			return err
		}
		n += batch
	}
	if err := c.Send(figures{"events": float64(n)}); err != nil {
		return err
	}
	return linger(c)
}

// newestSize is the size of the newest segment in dir.
func newestSize(dir string) (int64, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(slices.Max(names))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func doQuery(c *child.Conn, j *job, t target) error {
	heap := heapAlloc()
	log, err := t.open(j.Dir, mode{})
	if err != nil {
		return err
	}
	f := figures{}
	for _, q := range queries(j.Events) {
		want := q.expect(j.Events)
		var times []time.Duration
		for total := time.Duration(0); len(times) == 0 || j.Long && len(times) < 1000 && total < 300*time.Millisecond; {
			began := time.Now()
			a, err := log.Query(&q, j.Decode)
			times = append(times, time.Since(began))
			if err != nil {
				return err
			}
			if err := q.check(a, want); err != nil {
				return err
			}
			total += times[len(times)-1]
		}
		f[q.name] = 1e3 * median(times).Seconds()
	}
	f["heap"] = float64(heapAlloc()-heap) / (1 << 20)
	runtime.KeepAlive(log)
	if err := log.Close(); err != nil {
		return err
	}
	return c.Send(f)
}
