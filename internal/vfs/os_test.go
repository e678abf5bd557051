package vfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rampartlog/rampart/internal/vfs"
)

// lockDir names an environment variable. It makes the test binary hold the lock
// of the directory that it gives, until standard input ends.
const lockDir = "VFS_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if path := os.Getenv(lockDir); path != "" {
		holdLock(path)
		return
	}
	os.Exit(m.Run())
}

func holdLock(path string) {
	d, err := vfs.Dir(path)
	if err == nil {
		_, err = d.Lock("LOCK")
	}
	fmt.Println(err)
	io.Copy(io.Discard, os.Stdin)
}

func open(t *testing.T, path string) vfs.FS {
	t.Helper()
	d, err := vfs.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t *testing.T, d vfs.FS, name, content string) {
	t.Helper()
	f, err := d.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), d.SyncDir()); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	create(t, d, "a", "hello, log")
	f, err := d.OpenWrite("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("HE"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(5), f.Sync()); err != nil {
		t.Fatal(err)
	}
	if size, err := f.Size(); size != 5 || err != nil {
		t.Errorf("Size = %d, %v; want 5", size, err)
	}
	p := make([]byte, 8)
	if n, err := f.ReadAt(p, 0); string(p[:n]) != "HEllo" || err != io.EOF {
		t.Errorf("ReadAt = %q, %v; want HEllo, EOF", p[:n], err)
	}
}

func TestOpenIsForReading(t *testing.T) {
	d := open(t, t.TempDir())
	create(t, d, "a", "kept")
	f, err := d.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("WriteAt succeeded on a file opened for reading")
	}
}

func TestNames(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	create(t, d, "b", "b")
	create(t, d, "a", "a")
	create(t, d, "gone", "")
	if err := os.Mkdir(filepath.Join(path, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Remove("gone"), d.Rename("b", "c"), d.Rename("c", "a")); err != nil {
		t.Fatal(err)
	}
	names, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "directory"}, names); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if data, err := os.ReadFile(filepath.Join(path, "a")); string(data) != "b" {
		t.Errorf("a = %q, %v; want what was b", data, err)
	}
}

func TestCreateRefusesTakenName(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	create(t, d, "file", "kept")
	if err := os.Symlink("missing", filepath.Join(path, "link")); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	for _, name := range []string{"file", "link"} {
		if _, err := d.Create(name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create(%q) = %v, want fs.ErrExist", name, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(path, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create followed the link: %v", err)
	}
}

// calls are the methods of an FS that take a name.
var calls = map[string]func(d vfs.FS, name string) error{
	"Open":      func(d vfs.FS, name string) error { _, err := d.Open(name); return err },
	"OpenWrite": func(d vfs.FS, name string) error { _, err := d.OpenWrite(name); return err },
	"Lock":      func(d vfs.FS, name string) error { _, err := d.Lock(name); return err },
	"Create":    func(d vfs.FS, name string) error { _, err := d.Create(name); return err },
	"Remove":    func(d vfs.FS, name string) error { return d.Remove(name) },
	"RenameOld": func(d vfs.FS, name string) error { return d.Rename(name, "free") },
	"RenameNew": func(d vfs.FS, name string) error { return d.Rename("file", name) },
}

func TestRefusesPaths(t *testing.T) {
	path := t.TempDir()
	d := open(t, filepath.Join(path, "dir"))
	create(t, d, "file", "")
	if err := os.WriteFile(filepath.Join(path, "outside"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../outside", `..\outside`, "a/b", "/outside", filepath.Join(path, "outside")} {
		for method, call := range calls {
			if err := call(d, name); err == nil || !strings.Contains(err.Error(), "not a plain file name") {
				t.Errorf("%s(%q) = %v, want it refused as not a plain file name", method, name, err)
			}
		}
	}
}

func TestRefusesOtherThanFiles(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	create(t, d, "file", "")
	if err := os.Mkdir(filepath.Join(path, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"directory": "not a regular file"}
	for name, target := range map[string]string{"link": "file", "dangling": "missing"} {
		if err := os.Symlink(target, filepath.Join(path, name)); err != nil {
			t.Skip("no symbolic links: ", err)
		}
		want[name] = "a symbolic link"
	}
	for name, reason := range want {
		for _, method := range []string{"Open", "OpenWrite", "Lock"} {
			if err := calls[method](d, name); err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%s(%q) = %v, want it refused as %s", method, name, err, reason)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	d := open(t, t.TempDir())
	for _, method := range []string{"Open", "OpenWrite", "Remove", "RenameOld"} {
		if err := calls[method](d, "missing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s = %v, want fs.ErrNotExist", method, err)
		}
	}
}

func TestDirMakesParentsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	create(t, d, "file", "")
	l, err := d.Lock("LOCK")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if runtime.GOOS == "windows" {
		return // Windows has no such permissions
	}
	for name, want := range map[string]fs.FileMode{"..": 0o700, ".": 0o700, "file": 0o600, "LOCK": 0o600} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %o, want %o", name, got, want)
		}
	}
}

func TestDirRefusesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Dir(path); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("Dir = %v, want it refused as not a directory", err)
	}
	if _, err := vfs.Dir(""); err == nil {
		t.Error("Dir took an empty path for the working directory")
	}
}

// Dir once said "file exists" for a path that it could not stat.
func TestDirSaysWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("missing", path); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	if _, err := vfs.Dir(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Dir = %v, want what it leads to not to exist", err)
	}
}

// wantLocked checks that process pid holds the lock.
func wantLocked(t *testing.T, d vfs.FS, pid int) {
	t.Helper()
	_, err := d.Lock("LOCK")
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.PID != pid {
		t.Fatalf("Lock = %v, want it in use by process %d", err, pid)
	}
}

func TestLockInProcess(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	l, err := d.Lock("LOCK")
	if err != nil {
		t.Fatal(err)
	}
	wantLocked(t, open(t, path), os.Getpid())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = d.Lock("LOCK")
	if err != nil {
		t.Fatal("after Close:", err)
	}
	l.Close()
}

func TestLockInOtherProcess(t *testing.T) {
	path := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), lockDir+"="+path)
	if _, err := child.StdinPipe(); err != nil { // open until the child is gone
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "<nil>\n" {
		t.Fatalf("the child could not lock: %s (%v)", line, err)
	}
	d := open(t, path)
	wantLocked(t, d, child.Process.Pid)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	l, err := d.Lock("LOCK")
	if err != nil {
		t.Fatal("after the holder was killed:", err)
	}
	wantLocked(t, d, os.Getpid())
	l.Close()
}
