package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// findChromium looks at $CHROMIUM and under the names that systems give to
// Chromium. The first name is the engine without windows, which takes half of the
// time.
func findChromium() (path string, ok bool) {
	return find(cmp.Or(os.Getenv("CHROMIUM"), "chromium-headless-shell"), "chromium", "chromium-browser", "google-chrome")
}

// browser is one headless Chromium for all tests, with a profile of its own.
var browser = sync.OnceValues(func() (context.Context, error) {
	path, _ := findChromium()
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(scratch, "chromium"))}
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
		"disable-background-networking", "disable-component-update", "disable-sync",
		// All windows work, whichever is in front.
		"disable-background-timer-throttling", "disable-backgrounding-occluded-windows", "disable-renderer-backgrounding",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	stopBrowser = func() {
		chromedp.Cancel(ctx) // as its user would close it
		stop()
	}
	return ctx, chromedp.Do(ctx)
})

// stopBrowser is set once there is a browser.
var stopBrowser = func() {}

// tab is a page that is open in a browser.
type tab struct {
	t       *testing.T
	ctx     context.Context // for chromedp's actions
	console *output         // what the page said with console.log, a line each

	mu     sync.Mutex
	faults []string // console.error, exceptions, and errors of the browser itself
}

// open opens url in a tab that shares nothing with others and ends with the test.
func open(t *testing.T, url string) *tab {
	t.Helper()
	if _, ok := findChromium(); !ok {
		lacks(t, "chromium")
	}
	browser, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	p := &tab{t: t, console: newOutput()}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	p.ctx = ctx
	messages := chromedp.Console(ctx)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for m, err := range messages {
			if err == nil {
				p.hear(m)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-heard
	})
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *tab) hear(m chromedp.ConsoleMessage) {
	switch m.Type {
	case "log":
		fmt.Fprintln(p.console, m.Text)
	case "error", chromedp.ConsoleException:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.faults = append(p.faults, m.String())
	}
}

// says waits until the page has said that many lines, and returns them.
func (p *tab) says(n int) []string {
	p.t.Helper()
	p.console.wait(p.t, fmt.Sprintf("the page says %d lines", n), func() bool { return p.console.lines >= n })
	lines := strings.Split(p.console.String(), "\n")
	return lines[:len(lines)-1]
}

// wantNoFaults wants no fault so far.
func (p *tab) wantNoFaults() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		p.t.Errorf("the browser's console says: %s", f)
	}
}

// site is a web server on loopback, to which pages are given as they are needed.
type site struct {
	*http.ServeMux
	origin string
}

func newSite(t *testing.T) site {
	s := site{ServeMux: http.NewServeMux()}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.origin = server.URL
	return s
}

// run gives a page with nothing but that script, and an icon, which browsers ask for.
func (s site) run(path, script string) {
	s.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>e2e</title><link rel=icon href=data:,><script>\n%s</script>", script)
	})
}
