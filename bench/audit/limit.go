//go:build linux

package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/rampartlog/rampart"
)

// limitLog does the least work possible. A durable append writes bytes that were
// made before, and waits for the disk. A bulk load encodes without any check, hashes
// and writes. Its files have the form of a rampart log, so that they can be checked
// like one.
type limitLog struct {
	dir   string
	file  *os.File
	size  int // bytes in file
	n     int // events in the log
	w     *bufio.Writer
	hash  [64]byte
	buf   []byte
	line  []byte // the line that every durable append writes
	group *committer[rampart.AuditEvent]
	mu    sync.Mutex
}

const limitSegment = 16 << 20

func openLimit(dir string, m mode) (journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &limitLog{dir: dir}
	l.encode(event(0))
	l.line = bytes.Clone(l.buf)
	copy(l.hash[:], bytes.Repeat([]byte("0"), len(l.hash)))
	if err := l.roll(); err != nil {
		return nil, err
	}
	if m.Group {
		l.group = newCommitter(func(es []rampart.AuditEvent) error { return l.write(len(es)) })
	}
	return l, nil
}

func (l *limitLog) roll() (err error) {
	if l.file != nil {
		if err := errors.Join(l.w.Flush(), l.file.Close()); err != nil {
			return err
		}
	}
	l.file, err = os.OpenFile(filepath.Join(l.dir, fmt.Sprintf("%020d.jsonl", l.n+1)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	l.size, l.w = 0, bufio.NewWriterSize(l.file, 1<<20)
	return err
}

func (l *limitLog) Append(e rampart.AuditEvent) error {
	if l.group != nil {
		return l.group.append(e)
	}
	return l.write(1)
}

// write writes line n times and waits for the disk.
func (l *limitLog) write(n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = l.buf[:0]
	for range n {
		l.buf = append(l.buf, l.line...)
	}
	if _, err := l.file.Write(l.buf); err != nil {
		return err
	}
	l.n += n
	return fdatasync(l.file)
}

func (l *limitLog) AppendAll(es []rampart.AuditEvent) error {
	for i := range es {
		if l.size >= limitSegment {
			if err := l.roll(); err != nil {
				return err
			}
		}
		l.n++
		l.buf = l.buf[:0]
		l.encode(es[i])
		if _, err := l.w.Write(l.buf); err != nil {
			return err
		}
		l.size += len(l.buf)
	}
	return l.w.Flush()
}

// encode encodes e into buf: no escapes, no checks, no index.
func (l *limitLog) encode(e rampart.AuditEvent) {
	var digits [26]byte
	for i, n := len(digits)-1, l.n; i >= 0; i, n = i-1, n/10 {
		digits[i] = byte('0' + n%10)
	}
	b := append(l.buf, `{"id":"`...)
	b = append(b, digits[:]...)
	b = append(b, `","timestamp":"`...)
	b = e.Timestamp.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","agent":"`...)
	b = append(b, e.Agent...)
	b = append(b, `","session":"`...)
	b = append(b, e.Session...)
	b = append(b, `","run_id":"`...)
	b = append(b, e.RunID...)
	b = append(b, `","tool":"`...)
	b = append(b, e.Tool...)
	b = append(b, `","request":`...)
	b = append(b, e.Request...)
	b = append(b, `,"decision":{"action":"`...)
	b = append(b, e.Decision.Action...)
	b = append(b, `","matched_policies":["`...)
	b = append(b, e.Decision.MatchedPolicies[0]...)
	b = append(b, `"],"evaluation_time_us":`...)
	b = strconv.AppendInt(b, e.Decision.EvaluationTimeUS, 10)
	b = append(b, `,"message":"`...)
	b = append(b, e.Decision.Message...)
	b = append(b, `"},"prev_hash":"`...)
	b = append(b, l.hash[:]...)
	b = append(b, `"}`...)
	sum := sha256.Sum256(b)
	hex.Encode(l.hash[:], sum[:])
	b = append(b[:len(b)-1], `,"hash":"`...)
	b = append(b, l.hash[:]...)
	l.buf = append(b, "\"}\n"...)
}

func (l *limitLog) Len() (int, error) { return l.n, nil }

func (l *limitLog) Query(*query, bool) (answer, error) {
	return answer{}, errors.New("the limit has no queries")
}

func (l *limitLog) Close() error {
	if l.group != nil {
		l.group.close()
	}
	return errors.Join(l.w.Flush(), l.file.Close())
}

// verifyLimit hashes each line, several files at a time. It checks no links, no
// order and no syntax.
func verifyLimit(dir string, cores int, seen func([]byte) error) (int, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return 0, err
	}
	if seen != nil {
		cores = 1
	}
	var (
		work  = make(chan string, len(names))
		mu    sync.Mutex
		total int
		bad   error
		wg    sync.WaitGroup
	)
	for _, name := range names {
		work <- name
	}
	close(work)
	for range cores {
		wg.Go(func() {
			for name := range work {
				n, err := hashLines(name, seen)
				mu.Lock()
				total, bad = total+n, errors.Join(bad, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total, bad
}

func hashLines(name string, seen func([]byte) error) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const tail = len(`,"hash":"`) + 64 + len("\"}\n")
	r := bufio.NewReaderSize(f, 256<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return n, nil
		}
		if err == nil && len(line) < tail {
			err = errors.New("too short")
		}
		if err != nil {
			return n, fmt.Errorf("%s: line %d: %w", name, n+1, err)
		}
		// The hash covers the line without its hash member. A brace in place of
		// that member's comma closes the object.
		cut := len(line) - tail
		line[cut] = '}'
		sum := sha256.Sum256(line[:cut+1])
		line[cut] = ','
		var text [64]byte
		hex.Encode(text[:], sum[:])
		if !bytes.Equal(text[:], line[len(line)-67:len(line)-3]) {
			return n, fmt.Errorf("%s: line %d is not what was written", name, n+1)
		}
		n++
		if seen != nil {
			if err := seen(line); err != nil {
				return n, err
			}
		}
	}
}
