//go:build linux

package audit

import (
	"encoding/binary"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/rampartlog/rampart"
)

var bucket = []byte("events")

type boltStore struct {
	*bbolt.DB

	// State of the transaction that is open in a Batch. Owned by bbolt's writer.
	tx    *bbolt.Tx
	chain chain
	seq   uint64
}

func openBolt(dir string, noSync bool) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The free list stays in the file: without it, opening would read the whole file.
	db, err := bbolt.Open(filepath.Join(dir, "events.db"), 0o600, &bbolt.Options{NoSync: noSync, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	s := &boltStore{DB: db}
	made := false
	err = db.View(func(tx *bbolt.Tx) error {
		made = tx.Bucket(bucket) != nil
		return nil
	})
	if err == nil && !made { // only when needed: a transaction costs two syncs
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket(bucket)
			return err
		})
	}
	return s, err
}

func put(b *bbolt.Bucket, seq uint64, line []byte) error {
	// Keys only rise, so pages need no room for later insertions.
	b.FillPercent = 1
	return b.Put(binary.BigEndian.AppendUint64(nil, seq), line)
}

func (s *boltStore) put(first uint64, lines [][]byte, _ []rampart.AuditEvent) error {
	return s.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for i, line := range lines {
			if err := put(b, first+uint64(i), line); err != nil {
				return err
			}
		}
		return nil
	})
}

// batch lets bbolt put concurrent appends into one transaction. bbolt may roll a
// transaction back and try it again, so each begins at the head in the file.
func (s *boltStore) batch(e rampart.AuditEvent) error {
	return s.Batch(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if tx != s.tx {
			key, line := b.Cursor().Last()
			if s.seq = 0; key != nil {
				s.seq = binary.BigEndian.Uint64(key)
			}
			if err := s.chain.resume(line); err != nil {
				return err
			}
			s.tx = tx
		}
		line, err := s.chain.link(e)
		if err != nil {
			return err
		}
		s.seq++
		return put(b, s.seq, line)
	})
}

func (s *boltStore) len() (n uint64, err error) {
	err = s.View(func(tx *bbolt.Tx) error {
		if key, _ := tx.Bucket(bucket).Cursor().Last(); key != nil {
			n = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return n, err
}

func (s *boltStore) scan(newest bool, fn func([]byte) bool) error {
	return s.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		begin, step := c.First, c.Next
		if newest {
			begin, step = c.Last, c.Prev
		}
		for key, line := begin(); key != nil && fn(line); key, line = step() {
		}
		return nil
	})
}

func (s *boltStore) close() error { return s.Close() }
