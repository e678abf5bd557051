// Package report makes tables and plots of measurements.
package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Table is one table: all its rows were measured in one run on one machine.
type Table struct {
	Name    string // name of its file and of its place in a document, such as fanout-steady
	Title   string
	Columns []Column
	Rows    []*Row
	Ours    string   // target of the row that ratios refer to
	Notes   []string // paragraphs below the table
}

// Column is one figure.
type Column struct {
	Key   string
	Name  string // with the unit
	Ratio bool   // show also how many times the value of Ours it is
}

// Row holds the measurements of one target, a value for each run.
type Row struct {
	Target string
	values map[string][]float64
	words  map[string]string
}

// Row returns the row of target, and adds it if there is none.
func (t *Table) Row(target string) *Row {
	for _, r := range t.Rows {
		if r.Target == target {
			return r
		}
	}
	r := &Row{Target: target, values: map[string][]float64{}, words: map[string]string{}}
	t.Rows = append(t.Rows, r)
	return r
}

// Add adds the value of one run.
func (r *Row) Add(key string, v float64) { r.values[key] = append(r.values[key], v) }

// Say shows a word in place of a figure, such as "never returns".
func (r *Row) Say(key, word string) { r.words[key] = word }

// Median returns the median of the runs, or NaN if there are none.
func (r *Row) Median(key string) float64 {
	v := slices.Clone(r.values[key])
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}

// Markdown writes the table: medians, and for columns with Ratio how many times the
// value of Ours they are.
func (t *Table) Markdown(w io.Writer) error {
	var b strings.Builder
	head, line := []string{t.Title}, []string{"---"}
	for _, c := range t.Columns {
		head, line = append(head, c.Name), append(line, "---:")
	}
	row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(head)
	row(line)
	for _, r := range t.Rows {
		cells := []string{r.Target}
		for _, c := range t.Columns {
			cells = append(cells, t.cell(r, c))
		}
		row(cells)
	}
	for _, n := range t.Notes {
		b.WriteString("\n" + n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) cell(r *Row, c Column) string {
	if w, ok := r.words[c.Key]; ok {
		return w
	}
	v := r.Median(c.Key)
	if math.IsNaN(v) {
		return "–"
	}
	s := Format(v)
	if !c.Ratio || r.Target == t.Ours || t.Ours == "" {
		return s
	}
	if ours := t.Row(t.Ours).Median(c.Key); ours > 0 && !math.IsNaN(ours) {
		s += " (×" + ratio(v/ours) + ")"
	}
	return s
}

func ratio(x float64) string {
	if x >= 100 {
		return Format(math.Round(x))
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

// Format formats a figure with three significant digits and a comma at each
// thousand. Whole numbers below 1000 stay as they are.
func Format(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if digits >= 0 {
		return strconv.FormatFloat(v, 'f', digits, 64)
	}
	p := math.Pow10(-digits)
	s := fmt.Sprintf("%.0f", math.Round(v/p)*p)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
