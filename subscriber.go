package rampart

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/rampartlog/rampart/internal/framelog"
	"github.com/rampartlog/rampart/internal/ledger"
	"github.com/rampartlog/rampart/internal/record"
	"github.com/rampartlog/rampart/internal/sse"
)

// resumeNone is what became of a position that was not given; the others are
// ResumeOK and so on.
const resumeNone = ""

// subscriber is one reader of the bus: a place in memory, or, while it is
// behind what memory holds, in the chain. It follows the log until memory
// covers it: disk is always at or ahead of the bus, so the way back into memory
// needs no lock. It is for one goroutine.
type subscriber struct {
	bus    *EventBus
	reader *framelog.Reader
	head   string // the newest position when it came

	seq    uint64 // number of the last record handed out
	behind bool   // it is fed from the chain
	target uint64 // the record up to which it is fed before it looks at memory again
	notice bool   // approvals messages were passed over: one is due at target
	frames []byte // rendered from the chain
	marks  []framelog.Mark

	given atomic.Uint64 // seq before the run that is being dealt with
	fed   atomic.Bool   // behind, for Stats
}

// subscribe adds a subscriber that goes on after a position, and says what
// became of that. One that cannot resume there begins with what comes next.
func (b *EventBus) subscribe(ctx context.Context, after string) (*subscriber, string, error) {
	seq, how, err := b.find(ctx, after)
	if err != nil {
		return nil, "", err
	}
	s := &subscriber{bus: b}
	b.mu.Lock()
	if err := b.admits(); err != nil {
		b.mu.Unlock()
		return nil, "", err
	}
	s.reader, s.seq, s.head = b.log.NewReader(), b.log.Seq(), string(b.position)
	s.target = s.seq
	b.subscribers[s] = struct{}{}
	chain := b.chain
	b.mu.Unlock()

	if how == ResumeOK && chain == nil {
		if _, err := s.reader.Attach(seq); errors.Is(err, framelog.ErrLagged) {
			how = ResumeUnknown
		}
	}
	if how == ResumeOK {
		s.seq, s.notice = seq, true
		s.setBehind(chain != nil)
	}
	s.given.Store(s.seq)
	return s, how, nil
}

// admits says why there can be no further subscriber. The caller holds b.mu.
func (b *EventBus) admits() error {
	if b.closing.Err() != nil {
		return fmt.Errorf("%w: subscribe", ErrClosed)
	}
	if len(b.subscribers) >= b.limit {
		return fmt.Errorf("%w: %d subscribers: raise BusOptions.MaxSubscribers", ErrLimit, b.limit)
	}
	return nil
}

// full is admits for somebody who only asks.
func (b *EventBus) full() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admits()
}

// find looks up the record after which a position resumes.
func (b *EventBus) find(ctx context.Context, after string) (seq uint64, how string, err error) {
	if after == "" {
		return 0, resumeNone, nil
	}
	chain := b.history()
	if after == sse.Start {
		if chain != nil {
			seq = chain.ledger.Pruned().Records
		}
		return seq, ResumeOK, nil
	}
	if chain == nil {
		if !sse.ValidID(after) {
			return 0, ResumeMalformed, nil
		}
		seq, how = b.search(after)
		return seq, how, nil
	}
	id, hash, ok := sse.ParsePosition(after)
	if !ok {
		return 0, ResumeMalformed, nil
	}
	seq, p, err := chain.ledger.Locate(ctx, id, hash)
	if err != nil {
		return 0, "", fmt.Errorf("rampart: find position %s: %w", after, err)
	}
	switch p {
	case ledger.Found:
		return seq, ResumeOK, nil
	case ledger.Contradicts:
		return seq, ResumeMismatch, nil
	}
	return 0, ResumeUnknown, nil
}

func (b *EventBus) history() *AuditChain {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.chain
}

// search looks for a host's own id in memory, newest match last.
func (b *EventBus) search(id string) (seq uint64, how string) {
	how = ResumeUnknown
	r := b.log.NewReader()
	if _, err := r.Attach(b.log.Oldest()); err != nil {
		return 0, how
	}
	for {
		run, _, err := r.Next()
		if err != nil || len(run.Bytes) == 0 {
			return seq, how
		}
		for _, m := range run.Marks {
			frame, _, _ := sse.Cut(run.Bytes[m.Off-run.Base:])
			if f, _ := sse.Parse(frame); string(f.ID) == id {
				seq, how = m.Seq, ResumeOK
			}
		}
	}
}

func (s *subscriber) leave() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	delete(s.bus.subscribers, s)
}

func (s *subscriber) setBehind(behind bool) {
	s.behind = behind
	s.fed.Store(behind)
}

// next returns the next run of whole frames, which is good until the following
// call. When there is none yet it returns an empty run and a channel that is
// closed once there may be. ctx limits reading from the chain.
func (s *subscriber) next(ctx context.Context) (framelog.Run, <-chan struct{}, error) {
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
				return framelog.Run{}, nil, closedBus()
			case wait != nil: // durable, and found there, but not announced yet
				return framelog.Run{}, wait, nil
			default:
				s.setBehind(false)
				s.frames, s.marks = nil, nil
			}

		// Only after it is attached: every later change is in memory by then.
		case s.notice && s.seq >= s.target:
			s.notice = false
			run := framelog.Run{Bytes: approvalsFrame, After: s.seq, Seq: s.seq, More: true}
			run.Counts[kindApprovals] = 1
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
				return framelog.Run{}, nil, closedBus()
			case s.bus.history() == nil:
				return framelog.Run{}, nil, fmt.Errorf("%w: the subscriber fell further behind than the window reaches: subscribe again, read faster or raise BusOptions.Window", ErrLagged)
			}
			s.setBehind(true)
			s.notice, s.target = true, s.bus.log.Seq()
		}
	}
}

func closedBus() error { return fmt.Errorf("%w: the event bus", ErrClosed) }

// read renders the records after s.seq, up to target, as far as a chunk's size goes.
func (s *subscriber) read(ctx context.Context) (framelog.Run, error) {
	run := framelog.Run{After: s.seq, Seq: s.seq, More: true}
	if s.bus.closing.Err() != nil {
		return run, closedBus()
	}
	s.frames, s.marks = s.frames[:0], s.marks[:0]
	var position []byte
	var bad error
	err := s.bus.history().ledger.Read(ctx, s.seq, s.target, func(seq uint64, line []byte) bool {
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
