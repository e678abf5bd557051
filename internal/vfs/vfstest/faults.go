package vfstest

// fault says how an operation fails; the zero value is no fault.
type fault struct {
	err      error
	partial  bool // a write writes its first half
	drop     bool // a sync forgets the unsynced changes
	inFlight bool // a write was on its way to the disk when the machine crashed
}

// step counts an operation and returns its fault.
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

// read counts a call that is not an operation and returns its fault.
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

// stepSync is step for a File.Sync, which also has a count of its own.
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

// Op returns the kind and the file name of operation n; the first is 1.
func (f *FS) Op(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops[n-1]
}

// Reads is Ops for the calls that are not operations.
func (f *FS) Reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reads)
}

// Read is Op for the calls that are not operations.
func (f *FS) Read(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads[n-1]
}

// FailAt makes the n-th operation from now on fail with an error that wraps err;
// 1 is the next one. The operation has no effect, except that with partial a
// WriteAt writes its first half and returns that count. A Sync or SyncDir fails
// as with [FS.FailSync] and drop false. Each call arms one more fault.
func (f *FS) FailAt(n int, err error, partial bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[len(f.ops)+n] = fault{err: err, partial: partial}
}

// FailDropping is FailAt for a Sync or SyncDir: it fails as with [FS.FailSync]
// and drop true.
func (f *FS) FailDropping(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[len(f.ops)+n] = fault{err: err, drop: true}
}

// FailReadAt makes the n-th call from now on that is not an operation fail with
// an error that wraps err; 1 is the next one. A file or lock whose Close fails is
// closed all the same. Each call arms one more fault.
func (f *FS) FailReadAt(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readFaults[len(f.reads)+n] = err
}

// FailSync makes the n-th Sync of a file from now on fail with an error that
// wraps err; 1 is the next one. No later Sync makes those changes durable, though
// a crash before the next Sync may find some of them on the disk. With drop the
// file goes back to its durable contents, as when the system drops the dirty
// pages. Without, it reads as if all were well, as when the system marks the
// pages clean. Each call arms one more fault.
func (f *FS) FailSync(n int, err error, drop bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncFaults[f.syncs+n] = fault{err: err, drop: drop}
}

// CrashAt makes the n-th operation from now on, and all later ones, fail with an
// error that wraps [ErrCrashed]; 1 is the next one. They have no effect, except
// that the n-th, if it is a WriteAt, was on its way to the disk: it counts as
// written and not synced.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = len(f.ops) + n
}

// SetFull sets how many bytes all files together may have; a negative number
// means no limit. A WriteAt or Truncate that needs more fails with an error that
// wraps syscall.ENOSPC; the WriteAt writes the bytes that fit and returns their
// count.
func (f *FS) SetFull(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = bytes
}
