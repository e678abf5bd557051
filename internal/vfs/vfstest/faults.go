package vfstest

// fault is what happens to an operation; the zero value is nothing.
type fault struct {
	err      error
	partial  bool // half of a write is done
	drop     bool // of a Sync: the unsynced contents are forgotten
	inFlight bool // a write is on its way to the disk
}

// step counts an operation and returns what happens to it.
func (f *FS) step(op, name string) fault {
	f.ops = append(f.ops, op+" "+name)
	n := len(f.ops)
	if f.crashAt != 0 && n >= f.crashAt {
		return fault{err: ErrCrashed, inFlight: n == f.crashAt}
	}
	x := f.faults[n]
	delete(f.faults, n)
	return x
}

// read counts a call that is no operation and returns why it fails.
func (f *FS) read(op, name string) error {
	f.reads = append(f.reads, op+" "+name)
	n := len(f.reads)
	err := f.readFaults[n]
	if err != nil {
		delete(f.readFaults, n)
		err = failed(op, name, err)
	}
	return err
}

// stepSync is step for a File.Sync, which also counts among its own kind.
func (f *FS) stepSync(name string) fault {
	f.syncs++
	if x := f.step("sync", name); x.err != nil {
		return x
	}
	x := f.syncFaults[f.syncs]
	delete(f.syncFaults, f.syncs)
	return x
}

// Ops returns the number of operations so far.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ops)
}

// Op says what operation n was, 1 being the first: its kind and the file's name.
func (f *FS) Op(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops[n-1]
}

// Reads is Ops for the calls that are no operations.
func (f *FS) Reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reads)
}

// Read is Op for the calls that are no operations.
func (f *FS) Read(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads[n-1]
}

// FailAt makes the n-th operation from here on, 1 being the next, fail with an
// error that wraps err. Nothing of it happens, except that with partial a
// WriteAt writes the first half and says so. A Sync, or SyncDir, fails as with
// [FS.FailSync] and drop false. Each call arms one more fault.
func (f *FS) FailAt(n int, err error, partial bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[len(f.ops)+n] = fault{err: err, partial: partial}
}

// FailDropping is FailAt for a Sync or SyncDir, which fails as with
// [FS.FailSync] and drop true.
func (f *FS) FailDropping(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[len(f.ops)+n] = fault{err: err, drop: true}
}

// FailReadAt makes the n-th call from here on that is no operation, 1 being the
// next, fail with an error that wraps err. A file, or a lock, whose Close fails
// is closed all the same. Each call arms one more fault.
func (f *FS) FailReadAt(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readFaults[len(f.reads)+n] = err
}

// FailSync makes the n-th Sync of a file from here on, 1 being the next, fail
// with an error that wraps err. What it should have made durable is then lost
// to every later Sync, though a crash before the next one may find some of it.
// With drop the file goes back to its durable contents, as when the system
// drops the pages; otherwise it reads as if all were well, as when the system
// marks them clean. Each call arms one more fault.
func (f *FS) FailSync(n int, err error, drop bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncFaults[f.syncs+n] = fault{err: err, drop: drop}
}

// CrashAt makes the n-th operation from here on, 1 being the next, and all
// later ones fail with an error that wraps [ErrCrashed]. Nothing of them
// happens, except that the n-th, if it is a WriteAt, may be on its way to the
// disk: it counts as written and not synced.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = len(f.ops) + n
}

// SetFull sets how many bytes fit in all files together; any number when
// negative. A WriteAt or Truncate that needs more fails with an error that
// wraps syscall.ENOSPC; the write puts down what fits and says so.
func (f *FS) SetFull(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = bytes
}
