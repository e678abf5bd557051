package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Plot shows how figures grow. Both axes are logarithmic.
type Plot struct {
	Name  string // name of its file, such as fanout-growth
	Title string
	X, Y  string // labels of the axes, with units
	Lines []Line
}

// Line is one line of a plot.
type Line struct {
	Name   string
	Points []Point
}

// Point is a measured median.
type Point struct{ X, Y float64 }

// Sizes of the picture, in pixels.
const (
	width, height            = 720, 420
	left, right, top, bottom = 70, 190, 40, 50
)

// The colours are readable on white and on black. Without colour, the order of the
// names beside the lines' ends tells the lines apart.
var colours = []string{"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22"}

// axis maps values to pixels.
type axis struct {
	low, high float64 // decades
	from, to  float64 // pixels
}

func newAxis(values []float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, math.Log10(v)), max(high, math.Log10(v))
	}
	a := axis{math.Floor(low + 1e-9), math.Ceil(high - 1e-9), from, to}
	if a.low == a.high {
		a.high++
	}
	return a
}

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

// SVG writes the plot.
func (p *Plot) SVG(w io.Writer) error {
	var xs, ys []float64
	for _, l := range p.Lines {
		for _, pt := range l.Points {
			if !(pt.X > 0 && pt.Y > 0) {
				return fmt.Errorf("plot %s: %s has the point %v, which a logarithmic axis cannot show", p.Name, l.Name, pt)
			}
			xs, ys = append(xs, pt.X), append(ys, pt.Y)
		}
	}
	if len(xs) == 0 {
		return fmt.Errorf("plot %s: nothing to show", p.Name)
	}
	x, y := newAxis(xs, left, width-right), newAxis(ys, height-bottom, top)

	var b strings.Builder
	text := func(at, down float64, anchor, more, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", at, down, anchor, more, html.EscapeString(s))
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(p.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	text(left, 22, "start", ` font-weight="bold"`, p.Title)
	for d := x.low; d <= x.high; d++ {
		at := x.at(math.Pow(10, d))
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/>`+"\n", at, top, at, height-bottom)
		text(at, height-bottom+16, "middle", "", decade(d))
	}
	for d := y.low; d <= y.high; d++ {
		at := y.at(math.Pow(10, d))
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", left, at, width-right, at)
		text(left-6, at+4, "end", "", decade(d))
	}
	text((left+width-right)/2, height-12, "middle", "", p.X)
	middle := float64(top+height-bottom) / 2
	text(16, middle, "middle", fmt.Sprintf(` transform="rotate(-90 16 %.1f)"`, middle), p.Y)

	for i, l := range p.Lines {
		colour := colours[i%len(colours)]
		var path []string
		for _, pt := range l.Points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(pt.X), y.at(pt.Y)))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x.at(pt.X), y.at(pt.Y), colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(path, " "), colour)
		down := float64(top + 12 + 18*i)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="3"/>`+"\n", width-right+12, down-4, width-right+30, down-4, colour)
		text(width-right+36, down, "start", "", l.Name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// decade formats 10 to the power of d.
func decade(d float64) string {
	if d < -3 || d > 6 {
		return fmt.Sprintf("1e%.0f", d)
	}
	return Format(math.Pow(10, d))
}
