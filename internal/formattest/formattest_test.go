package formattest_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/rampartlog/rampart/internal/formattest"
)

// The example of docs/format.md is whole, and is not once any byte of it differs.
func TestCheckOfTheDocsExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindStringSubmatch(string(text))[1]
	check := func(lines string) error {
		return formattest.Check(map[string]string{"00000000000000000001.jsonl": lines})
	}
	if err := check(example); err != nil {
		t.Error(err)
	}
	for at := range example {
		if other := example[:at] + string(example[at]^1) + example[at+1:]; check(other) == nil {
			t.Errorf("byte %d is %q in place of %q, and nothing is said", at, other[at], example[at])
		}
	}
	first, second, _ := strings.Cut(example, "\n")
	for what, lines := range map[string]string{
		"dropped": second, "swapped": second + first + "\n", "doubled": first + "\n" + example, "cut off": example[:len(example)-1],
	} {
		if check(lines) == nil {
			t.Errorf("a line is %s, and nothing is said", what)
		}
	}
	if formattest.Check(map[string]string{"00000000000000000002.jsonl": example}) == nil {
		t.Error("the first segment is missing, and nothing is said")
	}
}
