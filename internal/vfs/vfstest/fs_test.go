package vfstest_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/vfs"
	"github.com/rampartlog/rampart/internal/vfs/vfstest"
)

var errDisk = errors.New("disk fault")

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, d vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := d.Create(name)
	must(t, err)
	return f
}

func write(t *testing.T, f vfs.File, off int64, s string) {
	t.Helper()
	_, err := f.WriteAt([]byte(s), off)
	must(t, err)
}

// durable creates a file with durable contents and a durable name.
func durable(t *testing.T, d vfs.FS, name, contents string) vfs.File {
	t.Helper()
	f := create(t, d, name)
	write(t, f, 0, contents)
	must(t, f.Sync(), d.SyncDir())
	return f
}

func contents(t *testing.T, f vfs.File) string {
	t.Helper()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	must(t, err)
	return string(b)
}

func read(t *testing.T, d vfs.FS, name string) string {
	t.Helper()
	f, err := d.Open(name)
	must(t, err)
	return contents(t, f)
}

// state describes a directory: names with their contents, each sector as its first byte.
func state(t *testing.T, d vfs.FS) string {
	t.Helper()
	names, err := d.List()
	must(t, err)
	var files []string
	for _, name := range names {
		s := name + "="
		for sector := range slices.Chunk([]byte(read(t, d, name)), 512) {
			s += strings.ReplaceAll(string(sector[:1]), "\x00", "0")
		}
		files = append(files, s)
	}
	return strings.Join(files, " ")
}

func sector(s string) string { return strings.Repeat(s, 512) }

func TestFates(t *testing.T) {
	tests := []struct {
		name   string
		script func(t *testing.T, d *vfstest.FS)
		lost   string
		kept   string
		torn   []string // every state that some seed gives, sorted
		later  []string
	}{
		{
			name: "append",
			script: func(t *testing.T, d *vfstest.FS) {
				f := durable(t, d, "f", sector("a"))
				write(t, f, 512, sector("b"))
				write(t, f, 1024, sector("c"))
			},
			lost:  "f=a",
			kept:  "f=abc",
			torn:  []string{"f=a", "f=a0", "f=a00", "f=a0c", "f=ab", "f=ab0", "f=abc"},
			later: []string{"f=a0c"},
		},
		{
			name: "one write of three sectors",
			script: func(t *testing.T, d *vfstest.FS) {
				write(t, durable(t, d, "f", "-"), 0, sector("a")+sector("b")+sector("c"))
			},
			lost: "f=-",
			kept: "f=abc",
			torn: []string{"f=-", "f=-0", "f=-00", "f=-0c", "f=-b", "f=-b0", "f=-bc",
				"f=a", "f=a0", "f=a00", "f=a0c", "f=ab", "f=ab0", "f=abc"},
			later: []string{"f=-0c", "f=-bc"},
		},
		{
			name: "overwrite",
			script: func(t *testing.T, d *vfstest.FS) {
				f := durable(t, d, "f", sector("a"))
				write(t, f, 0, sector("b"))
				write(t, f, 0, sector("c"))
			},
			lost:  "f=a",
			kept:  "f=c",
			torn:  []string{"f=a", "f=b", "f=c"},
			later: []string{"f=a"},
		},
		{
			name: "truncate",
			script: func(t *testing.T, d *vfstest.FS) {
				f := durable(t, d, "f", sector("a")+sector("b"))
				must(t, f.Truncate(512))
			},
			lost:  "f=ab",
			kept:  "f=a",
			torn:  []string{"f=a", "f=a0", "f=ab"},
			later: []string{"f=a"},
		},
		{
			name: "names",
			script: func(t *testing.T, d *vfstest.FS) {
				durable(t, d, "a", "a")
				durable(t, d, "b", "b")
				f := create(t, d, "c")
				write(t, f, 0, "c")
				must(t, f.Sync(), d.Rename("c", "a"), d.Remove("b"))
			},
			lost:  "a=a b=b",
			kept:  "a=c",
			torn:  []string{"a=a", "a=a b=b", "a=a b=b c=c", "a=a c=c", "a=c", "a=c b=b"},
			later: []string{"a=c"},
		},
		{
			name: "cut and written again",
			script: func(t *testing.T, d *vfstest.FS) {
				f := durable(t, d, "f", sector("a")+sector("b"))
				must(t, f.Truncate(512))
				write(t, f, 512, sector("c"))
			},
			lost:  "f=ab",
			kept:  "f=ac",
			torn:  []string{"f=a", "f=a0", "f=ab", "f=ac"},
			later: []string{"f=ab"},
		},
		{
			name: "names made twice",
			script: func(t *testing.T, d *vfstest.FS) {
				durable(t, d, "a", "1")
				must(t, d.Remove("a"))
				f := create(t, d, "a")
				write(t, f, 0, "2")
				must(t, f.Sync())
			},
			lost:  "a=1",
			kept:  "a=2",
			torn:  []string{"", "a=1", "a=2"},
			later: []string{"a=2"},
		},
		{
			name: "rename before sync",
			script: func(t *testing.T, d *vfstest.FS) {
				durable(t, d, "a", "a")
				write(t, create(t, d, "b"), 0, "b")
				must(t, d.Rename("b", "a"), d.SyncDir())
			},
			lost:  "a=",
			kept:  "a=b",
			torn:  []string{"a=", "a=0", "a=b"},
			later: []string{"a=0"},
		},
		{
			name: "two files",
			script: func(t *testing.T, d *vfstest.FS) {
				a, b := durable(t, d, "a", "-"), durable(t, d, "b", "-")
				write(t, b, 0, "1")
				write(t, a, 0, "2")
			},
			lost:  "a=- b=-",
			kept:  "a=2 b=1",
			torn:  []string{"a=- b=-", "a=- b=1", "a=2 b=-", "a=2 b=1"},
			later: []string{"a=2 b=-"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := vfstest.New()
			test.script(t, d)
			for fate, want := range map[vfstest.Fate][]string{
				vfstest.Lost: {test.lost}, vfstest.Kept: {test.kept}, vfstest.Torn: test.torn, vfstest.Reordered: test.later,
				vfstest.Each: test.torn,
			} {
				var got []string
				seeds := uint64(300)
				if fate == vfstest.Each {
					seeds = d.States()
				}
				for seed := range seeds {
					r := d.Recover(fate, seed)
					s := state(t, r)
					if again := state(t, d.Recover(fate, seed)); again != s {
						t.Fatalf("%v with seed %d gave %s, then %s", fate, seed, s, again)
					}
					if after := state(t, r.Recover(vfstest.Lost, 0)); after != s {
						t.Fatalf("%v: %s is not durable, a second crash gave %s", fate, s, after)
					}
					got = append(got, s)
				}
				slices.Sort(got)
				if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
					t.Errorf("%v (-want +got):\n%s", fate, diff)
				}
			}
		})
	}
}

func TestCrashAt(t *testing.T) {
	d := vfstest.New()
	f := durable(t, d, "f", "a")
	d.CrashAt(2)
	write(t, f, 1, "b")
	if n, err := f.WriteAt([]byte("c"), 2); n != 0 || !errors.Is(err, vfstest.ErrCrashed) {
		t.Errorf("WriteAt = %d, %v; want ErrCrashed", n, err)
	}
	_, createErr := d.Create("g")
	_, writeErr := f.WriteAt([]byte("d"), 3)
	for i, err := range []error{createErr, writeErr, f.Sync(), f.Truncate(0), d.Rename("f", "g"), d.Remove("f"), d.SyncDir()} {
		if !errors.Is(err, vfstest.ErrCrashed) {
			t.Errorf("operation %d after the crash = %v, want ErrCrashed", i, err)
		}
	}
	if got := read(t, d.Recover(vfstest.Lost, 0), "f"); got != "a" {
		t.Errorf("Lost: %q, want what was synced", got)
	}
	if got := read(t, d.Recover(vfstest.Kept, 0), "f"); got != "abc" {
		t.Errorf("Kept: %q, want the write that was on its way, and none after it", got)
	}
}

// operations returns one operation of each kind, in an order in which all succeed.
func operations(d *vfstest.FS) []func() error {
	var f vfs.File
	return []func() error{
		func() (err error) { f, err = d.Create("f"); return err },
		func() error { _, err := f.WriteAt([]byte("abcd"), 0); return err },
		func() error { return f.Truncate(3) },
		func() error { return f.Sync() },
		func() error { return d.Rename("f", "g") },
		func() error { return d.SyncDir() },
		func() error { return d.Remove("g") },
	}
}

func TestFailAt(t *testing.T) {
	for n := range len(operations(nil)) {
		d := vfstest.New()
		d.FailAt(n+1, errDisk, false)
		for i, op := range operations(d) {
			before := state(t, d)
			err := op()
			if i != n {
				must(t, err)
				continue
			}
			if !errors.Is(err, errDisk) {
				t.Fatalf("operation %d = %v, want the fault", i, err)
			}
			if after := state(t, d); after != before {
				t.Errorf("operation %d failed and changed %q to %q", i, before, after)
			}
			must(t, op())
		}
		if got, want := d.Ops(), len(operations(nil))+1; got != want {
			t.Errorf("Ops = %d, want %d", got, want)
		}
	}
}

func TestFailAtPartial(t *testing.T) {
	d := vfstest.New()
	f := create(t, d, "f")
	d.FailAt(1, errDisk, true)
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 2 || !errors.Is(err, errDisk) {
		t.Errorf("WriteAt = %d, %v; want half of it and the fault", n, err)
	}
	if got := contents(t, f); got != "ab" {
		t.Errorf("contents = %q, want ab", got)
	}
}

func TestReadingIsNoOperation(t *testing.T) {
	d := vfstest.New()
	durable(t, d, "f", "a")
	before := d.Ops()
	d.CrashAt(1)
	state(t, d)
	l, err := d.Lock("f")
	must(t, err)
	must(t, l.Close())
	if got := d.Ops(); got != before {
		t.Errorf("Ops = %d after reading, %d before", got, before)
	}
}

func TestFailSync(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprintf("drop=%t", drop), func(t *testing.T) {
			d := vfstest.New()
			f := durable(t, d, "f", sector("a"))
			d.FailSync(2, errDisk, drop)
			must(t, f.Sync())
			write(t, f, 512, sector("b"))
			if err := f.Sync(); !errors.Is(err, errDisk) {
				t.Fatalf("Sync = %v, want the fault", err)
			}
			reads := map[bool]string{false: "f=ab", true: "f=a"}[drop]
			if got := state(t, d); got != reads {
				t.Errorf("reads %q after the failed Sync, want %q", got, reads)
			}
			write(t, f, 1024, "c")
			must(t, f.Sync())
			for _, fate := range []vfstest.Fate{vfstest.Lost, vfstest.Torn, vfstest.Reordered, vfstest.Each} {
				if got := state(t, d.Recover(fate, 0)); got != "f=a0c" {
					t.Errorf("%v: %q, want only what the second Sync covered", fate, got)
				}
			}
		})
	}
}

// A Sync writes a sector whole: bytes that an earlier Sync lost come back, unless
// the system dropped the page.
func TestFailSyncWithinASector(t *testing.T) {
	for drop, want := range map[bool]string{false: "abc", true: "a\x00c"} {
		d := vfstest.New()
		f := durable(t, d, "f", "a")
		d.FailSync(1, errDisk, drop)
		write(t, f, 1, "b")
		if err := f.Sync(); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		write(t, f, 2, "c")
		must(t, f.Sync())
		if got := read(t, d.Recover(vfstest.Lost, 0), "f"); got != want {
			t.Errorf("drop=%t: %q, want %q", drop, got, want)
		}
	}
}

func TestFailedSyncDir(t *testing.T) {
	for drop, want := range map[bool][]string{false: {"a=1 b=2 c=3", "a=1 c=3"}, true: {"a=1", "a=1 c=3"}} {
		d := vfstest.New()
		durable(t, d, "a", "1")
		b := create(t, d, "b")
		write(t, b, 0, "2")
		must(t, b.Sync())
		d.FailAt(1, errDisk, false)
		if drop {
			d.FailDropping(1, errDisk)
		}
		if err := d.SyncDir(); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		must(t, d.SyncDir())
		if !drop {
			durable(t, d, "c", "3")
		}
		if got := state(t, d); got != want[0] {
			t.Errorf("drop=%t: reads %q, want %q", drop, got, want[0])
		}
		if drop {
			durable(t, d, "c", "3")
		}
		for _, fate := range []vfstest.Fate{vfstest.Lost, vfstest.Torn, vfstest.Each} {
			if got := state(t, d.Recover(fate, 0)); got != want[1] {
				t.Errorf("drop=%t, %v: %q, want %q", drop, fate, got, want[1])
			}
		}
	}
}

// Each call that is not an operation fails once, and then works again.
func TestFailReadAt(t *testing.T) {
	var f vfs.File
	var l io.Closer
	d := vfstest.New()
	durable(t, d, "f", "a")
	calls := []struct {
		what string
		call func() error
		gone error // error of the second call
	}{
		{"list .", func() error { _, err := d.List(); return err }, nil},
		{"lock LOCK", func() (err error) { l, err = d.Lock("LOCK"); return err }, nil},
		{"open f", func() (err error) { f, err = d.OpenWrite("f"); return err }, nil},
		{"read f", func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err }, nil},
		{"stat f", func() error { _, err := f.Size(); return err }, nil},
		{"close f", func() error { return f.Close() }, fs.ErrClosed},
		{"close LOCK", func() error { return l.Close() }, fs.ErrClosed},
	}
	for _, c := range calls {
		before := d.Reads()
		d.FailReadAt(1, errDisk)
		if err := c.call(); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v, want the fault", c.what, err)
		}
		if err := c.call(); !errors.Is(err, c.gone) {
			t.Errorf("%s: then %v, want %v", c.what, err, c.gone)
		}
		if d.Reads() == before || d.Read(before+1) != c.what {
			t.Errorf("%s was noted as %q", c.what, d.Read(before+1))
		}
	}
}

func TestBeforeSeesEachOperation(t *testing.T) {
	d := vfstest.New()
	var seen []string
	d.Before = func(op string) { seen = append(seen, op) }
	for _, op := range operations(d) {
		must(t, op())
	}
	want := []string{"create f", "write f", "truncate f", "sync f", "rename f", "syncdir .", "remove g"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	for i, op := range want {
		if d.Op(i+1) != op {
			t.Errorf("Op(%d) = %q, want %q", i+1, d.Op(i+1), op)
		}
	}
}

// A kill makes nothing durable: a power cut after it loses the same as one without it.
func TestKill(t *testing.T) {
	d := vfstest.New()
	f := durable(t, d, "f", sector("a"))
	_, err := d.Lock("LOCK")
	must(t, err)
	write(t, f, 512, sector("b"))
	durableLater := create(t, d, "g")
	write(t, durableLater, 0, "g")
	must(t, durableLater.Sync())
	next := d.Kill()
	if next.Sum() != d.Sum() {
		t.Errorf("reads %q, want %q", state(t, next), state(t, d))
	}
	l, err := next.Lock("LOCK")
	must(t, err, l.Close())
	lost := next.Recover(vfstest.Lost, 0)
	if lost.Sum() != d.Recover(vfstest.Lost, 0).Sum() || lost.Sum() == next.Sum() {
		t.Errorf("a power cut leaves %q", state(t, lost))
	}
	must(t, next.SyncDir())
	if got := read(t, next.Recover(vfstest.Lost, 0), "g"); got != "g" {
		t.Errorf("g holds %q once its name is durable", got)
	}
	if names := next.Recover(vfstest.Lost, 0).Files(); len(names) != 3 || string(names["f"].Data) != sector("a") {
		t.Errorf("%d files", len(names))
	}
}

func TestSetFull(t *testing.T) {
	d := vfstest.New()
	durable(t, d, "other", "123")
	f := durable(t, d, "f", "ab")
	d.SetFull(7)
	n, err := f.WriteAt([]byte("cdef"), 2)
	var pathErr *fs.PathError
	if n != 2 || !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &pathErr) {
		t.Errorf("WriteAt = %d, %v; want the 2 bytes that fit and ENOSPC in a PathError", n, err)
	}
	if err := f.Truncate(5); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Truncate beyond the limit = %v, want ENOSPC", err)
	}
	write(t, f, 0, "ABCD")
	must(t, f.Truncate(1), f.Sync())
	write(t, f, 1, "xyz")
	d.SetFull(-1)
	write(t, f, 4, "more")
	if got := contents(t, f); got != "Axyzmore" {
		t.Errorf("contents = %q, want Axyzmore", got)
	}
}

func TestRecoverFreesLock(t *testing.T) {
	d := vfstest.New()
	_, err := d.Lock("LOCK")
	must(t, err)
	l, err := d.Recover(vfstest.Lost, 0).Lock("LOCK")
	must(t, err)
	must(t, l.Close())
}

// vfstest answers every call as vfs.Dir does.
func TestBehavesAsDir(t *testing.T) {
	script := func(d vfs.FS) (log []string) {
		note := func(what string, values ...any) {
			for i, v := range values {
				err, ok := v.(error)
				if !ok {
					continue
				}
				values[i] = "refused"
				for name, kind := range map[string]error{"missing": fs.ErrNotExist, "exists": fs.ErrExist, "closed": fs.ErrClosed, "EOF": io.EOF} {
					if errors.Is(err, kind) {
						values[i] = name
					}
				}
				var locked *vfs.LockedError
				if errors.As(err, &locked) {
					values[i] = err.Error()
				}
			}
			log = append(log, what+": "+fmt.Sprint(values...))
		}
		outcome := func(_ any, err error) any { return err }
		buf := make([]byte, 8)

		f, err := d.Create("a")
		note("create", err)
		note("create again", outcome(d.Create("a")))
		note("open missing", outcome(d.Open("b")), outcome(d.OpenWrite("b")))
		for _, name := range []string{"", ".", "..", "a/b", `a\b`} {
			note("name "+name, outcome(d.Open(name)), outcome(d.Create(name)), outcome(d.Lock(name)), d.Remove(name), d.Rename("a", name))
		}
		n, err := f.WriteAt([]byte("abc"), 2)
		note("write behind the end", n, err)
		n, err = f.ReadAt(buf, 0)
		note("read", n, err, buf[:n])
		n, err = f.ReadAt(buf[:3], 1)
		note("read inside", n, err, buf[:n])
		n, err = f.ReadAt(buf, 9)
		note("read behind the end", n, err)
		note("negative", outcome(f.ReadAt(buf, -1)), outcome(f.WriteAt(buf, -1)), f.Truncate(-1))
		note("cut and lengthen", f.Truncate(3), f.Truncate(6))
		n, err = f.ReadAt(buf, 0)
		note("read", n, err, buf[:n])
		note("sync", f.Sync(), d.SyncDir())

		r, err := d.Open("a")
		note("open", err)
		note("change while reading", outcome(r.WriteAt(buf, 0)), r.Truncate(0))
		note("close", r.Close(), r.Close(), outcome(r.ReadAt(buf, 0)), outcome(r.Size()))
		note("close", f.Close(), outcome(f.WriteAt(buf, 0)), f.Truncate(0))

		note("rename", d.Rename("a", "b"), d.Rename("a", "c"))
		note("remove", d.Remove("a"))
		note("rename to itself", d.Rename("b", "b"))
		note("list", fmt.Sprint(d.List()))

		l, err := d.Lock("LOCK")
		note("lock", err, outcome(d.Lock("LOCK")))
		note("list", fmt.Sprint(d.List()))
		note("unlock", l.Close())
		l, err = d.Lock("LOCK")
		note("lock", err, l.Close())
		note("remove", d.Remove("b"), d.SyncDir())
		note("list", fmt.Sprint(d.List()))
		return log
	}
	dir, err := vfs.Dir(t.TempDir())
	must(t, err)
	if diff := cmp.Diff(script(dir), script(vfstest.New())); diff != "" {
		t.Errorf("vfs.Dir (-) and vfstest (+) differ:\n%s", diff)
	}
}
