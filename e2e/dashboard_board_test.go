package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// board is the dashboard in a tab. At the end of the test only what the test
// expected by name may have gone wrong in it: no other error on the console, no
// report of the Content-Security-Policy, no request to elsewhere.
type board struct {
	t      *testing.T
	ctx    context.Context // for chromedp's actions
	origin string          // the only one that it may ask
	token  string          // the admin's, which stands in no URL
	closed bool

	mu       sync.Mutex
	faults   []string
	expected []*regexp.Regexp
}

// reporter tells the test of what only the page itself hears. Hostile strings
// call e2eReport too, so that it is a fault if one of them runs.
const reporter = `addEventListener('securitypolicyviolation', e =>
	e2eReport('the policy refuses ' + e.violatedDirective + ': ' + e.blockedURI + ' ' + e.sample), true)`

// newBoard is a tab that shows nothing yet, in a browser that was never used.
// Scripts run in it before those of any page.
func newBoard(t *testing.T, origin, token string, scripts ...string) *board {
	t.Helper()
	if _, ok := findChromium(); !ok {
		lacks(t, "chromium")
	}
	browser, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	return newTab(t, browser, chromedp.WithNewBrowserContext(), origin, token, scripts)
}

// another is one more tab of the same browser.
func (b *board) another(scripts ...string) *board {
	b.t.Helper()
	id := chromedp.FromContext(b.ctx).BrowserContextID
	browser, _ := browser()
	return newTab(b.t, browser, chromedp.WithExistingBrowserContext(id), b.origin, b.token, scripts)
}

func newTab(t *testing.T, browser context.Context, in chromedp.ContextOption, origin, token string, scripts []string) *board {
	t.Helper()
	b := &board{t: t, origin: origin, token: token}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(browser, in, chromedp.WithNewWindow(true), chromedp.WithListener(b.hear))
	t.Cleanup(func() {
		if !b.closed {
			eval[bool](b, "true") // once this is answered, all events before it were heard
		}
		cancel()
		b.wantNoFaults()
	})
	b.do(func(ctx context.Context, tab *chromedp.Target) (none chromedp.Void, err error) {
		calls := []func() error{
			func() error { return call(ctx, tab, network.Enable, network.EnableParams{}) },
			func() error { return call(ctx, tab, audits.Enable, cdp.Empty{}) },
			func() error { return call(ctx, tab, runtime.AddBinding, runtime.AddBindingParams{Name: "e2eReport"}) },
			// As if its window was in front.
			func() error {
				return call(ctx, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
			},
		}
		for _, script := range append([]string{reporter}, scripts...) {
			calls = append(calls, func() error {
				return call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
			})
		}
		for _, call := range calls {
			if err := call(); err != nil {
				return none, err
			}
		}
		return none, nil
	})
	return b
}

// close closes the tab, and leaves the others of its browser open.
func (b *board) close() {
	b.t.Helper()
	b.closed = true
	if _, err := chromedp.Call(b.ctx, page.Close, cdp.Empty{}); err != nil {
		b.t.Fatal(err)
	}
}

// call is a command whose answer says nothing.
func call[P, R any](ctx context.Context, tab *chromedp.Target, command cdp.Command[P, R], params P) error {
	_, err := cdp.Call(ctx, tab, command, params)
	return err
}

// hear is called on the goroutine that reads from the browser.
func (b *board) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			text := "console." + string(e.Type)
			for _, arg := range e.Args {
				text += " " + cmp.Or(arg.Description, string(arg.Value))
			}
			b.fault(text)
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.fault("exception: " + text)
	case *runtime.EventBindingCalled:
		b.fault("the page reports: " + e.Payload)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.fault(fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *audits.EventIssueAdded:
		// These two are advice, such as an id for every input.
		if e.Issue.Code != audits.InspectorIssueCodeGenericIssue && e.Issue.Code != audits.InspectorIssueCodePerformanceIssue {
			details, _ := json.Marshal(e.Issue.Details)
			b.fault(fmt.Sprintf("issue %s: %s", e.Issue.Code, details))
		}
	case *page.EventJavascriptDialogOpening:
		b.fault("dialog: " + e.Message)
		// A command can't be run on this goroutine.
		go chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
	case *network.EventRequestWillBeSent:
		b.sends(e.Request.URL)
	}
}

func (b *board) sends(to string) {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		b.fault(err.Error())
	case u.Scheme == "data":
	case u.Scheme == "blob" && strings.HasPrefix(u.Opaque, b.origin+"/"):
	case u.Scheme+"://"+u.Host != b.origin:
		b.fault("a request to elsewhere: " + to)
	}
	if strings.Contains(to, b.token) {
		b.fault("the token stands in a URL: " + to)
	}
}

func (b *board) fault(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, text)
}

// expects says what may go wrong in this test: the 401 of a wrong token, refused
// connections while the daemon is down.
func (b *board) expects(pattern string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, regexp.MustCompile(pattern))
}

func (b *board) wantNoFaults() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		if !slices.ContainsFunc(b.expected, func(e *regexp.Regexp) bool { return e.MatchString(fault) }) {
			b.t.Errorf("in the browser: %.2000s", fault)
		}
	}
}

// do runs actions. When one fails, it fails the test and tells what the page shows.
func (b *board) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	// The first context that runs something is that of the tab.
	if err := chromedp.Do(b.ctx); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fatal(err)
	}
}

// eval runs a script in the page and waits for its promise, if it is one.
func eval[T any](b *board, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fatal(fmt.Errorf("%w\nof %.1000s", err, script))
	}
	return v
}

// until waits until condition, an expression, is true in the page.
func (b *board) until(what, condition string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	script := fmt.Sprintf(`new Promise(done => {
		const look = () => {
			let ok = false
			try { ok = %s } catch {}
			ok ? done(true) : setTimeout(look, 20)
		}
		look()
	})`, condition)
	for {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			b.fatal(fmt.Errorf("%s: never (%w)\n%s", what, err, condition))
		}
		// The page was left for another while it was looked at.
	}
}

// fatal ends the test with what the page shows.
func (b *board) fatal(err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience/6)
	defer cancel()
	shows, evalErr := chromedp.Run(ctx, chromedp.Evaluate[string](`[
		location.href, 'state ' + document.body.dataset.state,
		...['#connection', '#sign-in-error', '#alarms', '#rows-state', '#waiting', '#meanwhile'].map(s => {
			const e = document.querySelector(s)
			return s + ' ' + (e ? JSON.stringify({...e.dataset}) + ' ' + e.textContent.trim().slice(0, 300) : 'is not there')
		}),
		document.body.innerText.slice(0, 2000)].join('\n')`))
	if evalErr != nil {
		shows = evalErr.Error()
	}
	if png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
		b.t.Log("looks like ", b.keep("failed", png))
	}
	b.t.Fatalf("%v\nThe page shows:\n%s", err, shows)
}

// keep writes a picture to $RAMPART_SCREENSHOTS, for a person to look at.
func (b *board) keep(name string, png []byte) string {
	b.t.Helper()
	dir := cmp.Or(os.Getenv("RAMPART_SCREENSHOTS"), filepath.Join("..", ".cache", "screenshots"))
	path := filepath.Join(dir, strings.ReplaceAll(b.t.Name(), "/", "-")+"-"+name+".png")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o666); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// js is v as an expression of JavaScript.
func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
