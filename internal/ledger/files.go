package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/rampartlog/rampart/internal/failure"
	"github.com/rampartlog/rampart/internal/segment"
	"github.com/rampartlog/rampart/internal/vfs"
)

// createSegment makes an empty segment whose name survives a crash.
func createSegment(fsys vfs.FS, first uint64) (vfs.File, error) {
	name := segment.Name(first)
	f, err := fsys.Create(name)
	if errors.Is(err, fs.ErrExist) && isEmpty(fsys, name) {
		// An earlier process could neither sync nor remove it.
		if err = fsys.Remove(name); err == nil {
			f, err = fsys.Create(name)
		}
	}
	if err != nil {
		return nil, err
	}
	if err = f.Sync(); err == nil {
		err = fsys.SyncDir()
	}
	if err != nil {
		f.Close()
		if rm := fsys.Remove(name); rm != nil {
			err = fmt.Errorf("%w; and removing it again: %w", err, rm)
		}
		return nil, err
	}
	return f, nil
}

func isEmpty(fsys vfs.FS, name string) bool {
	f, err := fsys.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	return err == nil && size == 0
}

const asideSuffix = ".tmp"

// replaceFile puts the size bytes that src holds in place of name's content,
// all of it or nothing. src may read that very file, so replaceFile closes src
// before the rename: Windows replaces no open file.
//
//	open(tmp, O_CREAT|O_EXCL); pwrite; fdatasync; rename(tmp, name); fsync(dir)
func replaceFile(fsys vfs.FS, name string, src io.ReadCloser, size int64) error {
	aside := name + asideSuffix
	f, err := fsys.Create(aside)
	if err != nil {
		src.Close()
		return err
	}
	n, err := io.CopyBuffer(io.NewOffsetWriter(f, 0), src, make([]byte, max(1, min(size, 256<<10))))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Sync()
	}
	if e := errors.Join(f.Close(), src.Close()); err == nil {
		err = e
	}
	if err == nil {
		err = fsys.Rename(aside, name)
	}
	if err != nil {
		fsys.Remove(aside) // or at the next opening
		return err
	}
	return fsys.SyncDir()
}

// sizeOf returns the size of a segment's file.
func sizeOf(f vfs.File, name string) (int64, error) {
	size, err := f.Size()
	if err == nil && size > maxSegment {
		err = &failure.CorruptError{Segment: name, Expected: fmt.Sprintf("%d bytes at most", maxSegment), Found: fmt.Sprint(size)}
	}
	return size, err
}

// firstLine returns the first line of a file, or the beginning of one that is
// longer than any event.
func firstLine(f vfs.File, size int64) ([]byte, error) {
	buf := make([]byte, min(size, MaxEvent+1))
	if _, err := f.ReadAt(buf, 0); err != nil && size > 0 {
		return nil, err
	}
	line, _, _ := bytes.Cut(buf, []byte("\n"))
	return line, nil
}

// lastLine returns the last line of a file, nil when it is unterminated, or the
// end of one that is longer than any event.
func lastLine(f vfs.File, size int64) ([]byte, error) {
	for most := int64(4 << 10); ; most = MaxEvent + 2 {
		buf := make([]byte, min(size, most))
		if _, err := f.ReadAt(buf, size-int64(len(buf))); err != nil && size > 0 {
			return nil, err
		}
		line, ok := bytes.CutSuffix(buf, []byte("\n"))
		if !ok {
			return nil, nil
		}
		if i := bytes.LastIndexByte(line, '\n'); i >= 0 || int64(len(buf)) == size || most > MaxEvent {
			return line[i+1:], nil
		}
	}
}
