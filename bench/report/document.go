package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Output says where tables and plots go: to a directory, and into a document if one
// is given.
type Output struct {
	Dir      string
	Document string // "" for none
}

// Table prints t, writes it to a file, and puts it into the document between
// the comments
//
//	<!-- table NAME -->
//	<!-- end -->
//
// if the document has them.
func (o Output) Table(t *Table) error {
	var b bytes.Buffer
	if err := t.Markdown(&b); err != nil {
		return err
	}
	fmt.Printf("\n%s\n", &b)
	if err := o.file(t.Name+".md", b.Bytes()); err != nil || o.Document == "" {
		return err
	}
	doc, err := os.ReadFile(o.Document)
	if err != nil {
		return err
	}
	begin, end := []byte("<!-- table "+t.Name+" -->\n"), []byte("<!-- end -->")
	before, rest, ok := bytes.Cut(doc, begin)
	if !ok {
		return fmt.Errorf("%s has no place for table %s", o.Document, t.Name)
	}
	i := bytes.Index(rest, end)
	if i < 0 {
		return fmt.Errorf("%s: the place for table %s has no end", o.Document, t.Name)
	}
	doc = bytes.Join([][]byte{before, begin, []byte("\n"), b.Bytes(), []byte("\n"), rest[i:]}, nil)
	return os.WriteFile(o.Document, doc, 0o644)
}

// Plot writes p to a file. If there is a document, it writes p also to the directory
// beside it that has its name: docs/benchmarks/ for docs/benchmarks.md.
func (o Output) Plot(p *Plot) error {
	var b bytes.Buffer
	if err := p.SVG(&b); err != nil {
		return err
	}
	if err := o.file(p.Name+".svg", b.Bytes()); err != nil || o.Document == "" {
		return err
	}
	return Output{Dir: strings.TrimSuffix(o.Document, ".md")}.file(p.Name+".svg", b.Bytes())
}

func (o Output) file(name string, b []byte) error {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.Dir, name), b, 0o644)
}
