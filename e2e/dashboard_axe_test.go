package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// axeScript is axe-core, as npm has it.
func axeScript(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("npm", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		lacks(t, "e2e/npm/node_modules")
	}
	return string(script)
}

// wantAccessible has axe-core look at the page as it is.
func (b *board) wantAccessible(where, axe string) {
	b.t.Helper()
	type violation struct {
		ID, Help string
		Nodes    []struct {
			HTML           string
			FailureSummary string
		}
	}
	if !eval[bool](b, `typeof axe === 'object'`) {
		eval[bool](b, axe+"\n;true")
	}
	found := eval[struct {
		Violations []violation
		Passes     int
	}](b, `axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations']})
		.then(r => ({violations: r.violations.map(({id, help, nodes}) => ({id, help, nodes: nodes.map(n => ({html: n.html, failureSummary: n.failureSummary}))})), passes: r.passes.length}))`)
	if found.Passes < 10 {
		b.t.Errorf("%s: axe-core looked at %d rules", where, found.Passes)
	}
	for _, v := range found.Violations {
		text := fmt.Sprintf("%s: %s (%s), %d times:", where, v.ID, v.Help, len(v.Nodes))
		for _, n := range v.Nodes[:min(3, len(v.Nodes))] {
			text += fmt.Sprintf("\n\t%.300s\n\t\t%s", n.HTML, n.FailureSummary)
		}
		b.t.Error(text)
	}
}
