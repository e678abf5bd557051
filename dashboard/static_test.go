package dashboard_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// files returns the files in static/, by name.
func files(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, e := range entries {
		data, err := os.ReadFile("static/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[e.Name()] = string(data)
	}
	return texts
}

// references match text that makes a browser load another file.
var references = map[string]*regexp.Regexp{
	"html": regexp.MustCompile(`(?i)\s(?:src|href|action|data|poster|srcset)\s*=\s*["']?([^"'\s>]*)`),
	"css":  regexp.MustCompile(`(?i)(?:url\(\s*|@import\s+)["']?([^"')\s]*)`),
	"js":   regexp.MustCompile(`(?m)(?:^(?:import|export)\s[^"';=()]*?from\s*|^import\s*|\bimport\(\s*|\bWorker\(\s*)["'` + "`" + `]([^"'` + "`" + `]*)`),
}

// banned matches what the Content-Security-Policy forbids, and what could turn
// text that an agent wrote into HTML or code.
var banned = map[string]*regexp.Regexp{
	"html": regexp.MustCompile(`(?i)<style\b|\sstyle\s*=|\son[a-z]+\s*=|<base\b|<iframe\b|javascript:|<script\b[^>]*>\s*[^<\s]`),
	"js": regexp.MustCompile(`\b(?:innerHTML|outerHTML|insertAdjacentHTML|srcdoc|setHTML\w*|parseFromString|createContextualFragment|eval|trustedTypes)\b` +
		`|document\.write|javascript:|\bFunction\(|setAttribute\(\s*["'` + "`" + `](?i:style|on)|set(?:Timeout|Interval)\(\s*["'` + "`" + `]`),
}

// elsewhere matches an address of another host. The SVG namespace is not one.
var elsewhere = regexp.MustCompile(`(?i)\b(?:https?|wss?):/?/|["'` + "`" + `(=]\s*//[a-z0-9]`)

const svgNamespace = "http://www.w3.org/2000/svg"

// faults returns the parts of a file that load from elsewhere, name a file that is
// not in known, or are banned.
func faults(name, text string, known map[string]string) (found []string) {
	kind := name[strings.LastIndexByte(name, '.')+1:]
	text = strings.ReplaceAll(text, svgNamespace, "")
	found = elsewhere.FindAllString(text, -1)
	if r := banned[kind]; r != nil {
		found = append(found, r.FindAllString(text, -1)...)
	}
	if r := references[kind]; r != nil {
		for _, m := range r.FindAllStringSubmatch(text, -1) {
			to := m[1]
			if kind == "js" {
				to, _ = strings.CutPrefix(to, "./")
			}
			_, ok := known[to]
			if !ok && !(kind == "html" && strings.HasPrefix(to, "#")) && !(kind == "css" && strings.HasPrefix(to, "data:")) {
				found = append(found, m[0])
			}
		}
	}
	return found
}

// The page loads only its own files, by names that work wherever it is mounted,
// and uses nothing that its Content-Security-Policy would refuse.
func TestStaticFiles(t *testing.T) {
	known := files(t)
	if len(known) < 4 {
		t.Fatalf("%d files", len(known))
	}
	for name, text := range known {
		for _, f := range faults(name, text, known) {
			t.Errorf("%s: %q", name, f)
		}
	}
	for _, want := range []string{`href="style.css"`, `src="main.js"`, `href="icon.svg"`} {
		if !strings.Contains(known["index.html"], want) {
			t.Errorf("index.html has no %s", want)
		}
	}
}

// The check above finds each of these, and nothing in the good files below.
func TestStaticFaults(t *testing.T) {
	known := map[string]string{"style.css": "", "main.js": "", "rows.js": ""}
	for name, texts := range map[string][]string{
		"x.html": {
			`<script>alert(1)</script>`, `<style>a{}</style>`, `<p style="color:red">`, `<p onclick="f()">`, `<img src=x.png>`, `<link href="/style.css">`,
			`<script src="https://cdn.example/x.js"></script>`, `<link href='//cdn.example/x.css'>`, `<a href="javascript:f()">`, `<base href="main.js">`,
			`<script src="nothing.js"></script>`, `<form action="../v1/">`,
		},
		"x.css": {`@import "nothing.css";`, `a { background: url(nothing.png) }`, `a { background: url('https://cdn.example/x.png') }`, `a { background: url(//cdn.example/x.png) }`},
		"x.js": {
			`import "./nothing.js";`, `import { a } from "nothing.js"`, "import {\n\ta,\n\tb,\n} from './nothing.js'", `export * from "/main.js"`, `await import("./nothing.js")`,
			`import x from "https://cdn.example/x.js"`, `fetch("//cdn.example/x")`, "fetch(`https://cdn.example/`)", `new Worker("nothing.js")`,
			`e.innerHTML = x`, `e.outerHTML = x`, `e["insertAdjacentHTML"](a, b)`, `eval(x)`, `document.write(x)`, `new Function("x")`, `e.setAttribute("style", x)`,
			`e.setAttribute('onclick', x)`, `setTimeout("f()", 1)`, `trustedTypes.createPolicy("x", {})`, `new DOMParser().parseFromString(x, y)`,
		},
	} {
		for _, text := range texts {
			if len(faults(name, text, known)) == 0 {
				t.Errorf("%s: nothing is wrong with %s", name, text)
			}
		}
	}
	for name, text := range map[string]string{
		"x.html": `<link rel="stylesheet" href="style.css"><script type="module" src="main.js"></script><a href="#activity">Activity</a>`,
		"x.css":  `a { background: url("data:image/svg+xml,%3Csvg/%3E") } /* // */`,
		"x.js":   "import { a } from \"./rows.js\";\n// from here on\nexport const b = \"from rows\";\nconst ns = \"" + svgNamespace + "\"; const data = evaluate(\"//\"); setTimeout(f, 1);",
	} {
		if found := faults(name, text, known); len(found) > 0 {
			t.Errorf("%s: %q", name, found)
		}
	}
}
