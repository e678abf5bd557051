package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// Resume says what became of the position that a subscriber asked to resume after.
type Resume string

const (
	None      Resume = ""          // the subscriber gave no position
	OK        Resume = "ok"        // the events after the position follow
	Unknown   Resume = "unknown"   // well-formed, but not in this log, or no longer
	Malformed Resume = "malformed" // not a position
	Mismatch  Resume = "mismatch"  // in this log with another hash, or beyond its head
)

// Subscriber is one reader of the bus: a place in memory, or, while it is behind
// what memory holds, in the ledger. It follows the ledger until memory covers it:
// disk is always at or ahead of the bus, so the way back into memory needs no
// lock. It is for one goroutine, which must call Leave.
type Subscriber struct {
	bus    *Bus
	reader *framelog.Reader
	head   string // the newest position when it came

	seq    uint64 // number of the last record handed out
	behind bool   // it is fed from the ledger
	target uint64 // the record up to which it is fed before it looks at memory again
	notice bool   // approvals messages were passed over: one is due at target
	frames []byte // rendered from the ledger
	marks  []framelog.Mark

	given atomic.Uint64 // seq before the run that Next returned last
	fed   atomic.Bool   // behind, for Stats
}

// Subscribe adds a subscriber that goes on after a position, and says what became
// of the position. A subscriber that cannot resume there begins with what comes
// next. ctx limits the time for looking up the position. ErrLimit, ErrClosed, or
// the error of looking it up.
func (b *Bus) Subscribe(ctx context.Context, after string) (*Subscriber, Resume, error) {
	seq, resume, err := b.find(ctx, after)
	if err != nil {
		return nil, "", err
	}
	s := &Subscriber{bus: b}
	b.mu.Lock()
	if err := b.admits(); err != nil {
		b.mu.Unlock()
		return nil, "", err
	}
	s.reader, s.seq, s.head = b.log.NewReader(), b.log.Seq(), string(b.position)
	s.target = s.seq
	b.subscribers[s] = struct{}{}
	l := b.ledger
	b.mu.Unlock()

	if resume == OK && l == nil {
		if _, err := s.reader.Attach(seq); errors.Is(err, framelog.ErrLagged) {
			resume = Unknown
		}
	}
	if resume == OK {
		s.seq, s.notice = seq, true
		s.setBehind(l != nil)
	}
	s.given.Store(s.seq)
	return s, resume, nil
}

// Head returns the newest position when the subscriber came.
func (s *Subscriber) Head() string { return s.head }

// find looks up the record after which a position resumes.
func (b *Bus) find(ctx context.Context, after string) (seq uint64, resume Resume, err error) {
	if after == "" {
		return 0, None, nil
	}
	l := b.Ledger()
	if after == sse.Start {
		if l != nil {
			seq = l.Pruned().Records
		}
		return seq, OK, nil
	}
	if l == nil {
		if !sse.ValidID(after) {
			return 0, Malformed, nil
		}
		seq, resume = b.search(after)
		return seq, resume, nil
	}
	id, hash, ok := sse.ParsePosition(after)
	if !ok {
		return 0, Malformed, nil
	}
	seq, p, err := l.Locate(ctx, id, hash)
	if err != nil {
		return 0, "", fmt.Errorf("rampart: find position %s: %w", after, err)
	}
	switch p {
	case ledger.Found:
		return seq, OK, nil
	case ledger.Contradicts:
		return seq, Mismatch, nil
	}
	return 0, Unknown, nil
}

// search looks for a host's own id in memory, newest match last.
func (b *Bus) search(id string) (seq uint64, resume Resume) {
	resume = Unknown
	r := b.log.NewReader()
	if _, err := r.Attach(b.log.Oldest()); err != nil {
		return 0, resume
	}
	for {
		run, _, err := r.Next()
		if err != nil || len(run.Bytes) == 0 {
			return seq, resume
		}
		for _, m := range run.Marks {
			frame, _, _ := sse.Cut(run.Bytes[m.Off-run.Base:])
			if f, _ := sse.Parse(frame); string(f.ID) == id {
				seq, resume = m.Seq, OK
			}
		}
	}
}

// Leave ends the subscription. What Next returned is no longer valid.
func (s *Subscriber) Leave() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	delete(s.bus.subscribers, s)
}

func (s *Subscriber) setBehind(behind bool) {
	s.behind = behind
	s.fed.Store(behind)
}

// Next returns the next run of whole frames, which is valid until the next call.
// When there is none yet it returns an empty run and a channel that is closed once
// there may be one. ctx limits reading from the ledger.
//
// ErrClosed: the bus was closed, and what memory held has been given out.
// ErrLagged: memory, of a bus without a ledger, or a pruning has passed the
// subscriber by. Otherwise the errors of [ledger.Ledger.Read].
func (s *Subscriber) Next(ctx context.Context) (framelog.Run, <-chan struct{}, error) {
	s.given.Store(s.seq)
	for {
		switch {
		case s.behind && s.seq < s.target:
			run, err := s.read(ctx)
			s.seq = run.Seq
			return run, nil, err

		case s.behind:
			wait, err := s.reader.Attach(s.seq)
			switch {
			case errors.Is(err, framelog.ErrLagged):
				s.target = s.bus.log.Seq()
			case err != nil:
				return framelog.Run{}, nil, errClosed()
			case wait != nil: // the record is in the log, but not announced yet
				return framelog.Run{}, wait, nil
			default:
				s.setBehind(false)
				s.frames, s.marks = nil, nil
			}

		// Only once the reader is attached: memory then has every later change.
		case s.notice && s.seq >= s.target:
			s.notice = false
			run := framelog.Run{Bytes: ApprovalsFrame, After: s.seq, Seq: s.seq, More: true}
			run.Counts[KindApprovals] = 1
			return run, nil, nil

		default:
			run, wait, err := s.reader.Next()
			switch {
			case err == nil:
				s.seq = run.Seq
				if wait != nil {
					s.given.Store(s.seq)
				}
				return run, wait, nil
			case !errors.Is(err, framelog.ErrLagged):
				return framelog.Run{}, nil, errClosed()
			case s.bus.Ledger() == nil:
				return framelog.Run{}, nil, fmt.Errorf("%w: the subscriber fell further behind than the window reaches: subscribe again, read faster or raise BusOptions.Window", failure.ErrLagged)
			}
			s.setBehind(true)
			s.notice, s.target = true, s.bus.log.Seq()
		}
	}
}

// read renders the records after s.seq, up to target, as far as a chunk's size goes.
func (s *Subscriber) read(ctx context.Context) (framelog.Run, error) {
	run := framelog.Run{After: s.seq, Seq: s.seq, More: true}
	if s.bus.closing.Err() != nil {
		return run, errClosed()
	}
	s.frames, s.marks = s.frames[:0], s.marks[:0]
	var position []byte
	var bad error
	err := s.bus.Ledger().Read(ctx, s.seq, s.target, func(seq uint64, line []byte) bool {
		var f record.Fields
		if bad = record.Scan(line, &f); bad != nil {
			return false
		}
		position = sse.AppendPosition(position[:0], f.ID, f.Hash)
		start := len(s.frames)
		frames, kind := appendEvent(s.frames, line, position)
		if len(frames) > framelog.ChunkSize {
			return false
		}
		s.frames = frames
		s.marks = append(s.marks, framelog.Mark{Seq: seq, Off: int32(start), Kind: kind})
		run.Counts[kind]++
		run.Seq = seq
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil && run.Seq == s.seq {
		err = fmt.Errorf("announced records are missing")
	}
	if err != nil {
		return run, fmt.Errorf("rampart: read the log after record %d: %w", s.seq, err)
	}
	run.Bytes, run.Marks = s.frames, s.marks
	return run, nil
}
