package record_test

import (
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/rampartlog/rampart/internal/record"
)

func TestValidID(t *testing.T) {
	for s, want := range map[string]bool{
		"01ARZ3NDEKTSV4RRFFQ69G5FAV": true, "00000000000000000000000000": true, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ": true,
		"": false, "0": false, "01ARZ3NDEKTSV4RRFFQ69G5FA": false, "01ARZ3NDEKTSV4RRFFQ69G5FAV0": false, "80000000000000000000000000": false,
		"01arz3ndektsv4rrffq69g5fav": false, "0IARZ3NDEKTSV4RRFFQ69G5FAV": false, "01ARZ3NDEKTSV4RRFFQ69G5FAU": false,
		"01ARZ3NDEKTSV4RRFFQ69G5F\xff\xff": false, " 1ARZ3NDEKTSV4RRFFQ69G5FAV": false, strings.Repeat("é", 13): false,
	} {
		if record.ValidID(s) != want || record.ValidID([]byte(s)) != want {
			t.Errorf("ValidID(%q) = %v", s, !want)
		}
	}
}

// What is valid is what the package that makes ids reads, and writes again.
func FuzzValidID(f *testing.F) {
	for _, s := range []string{"01ARZ3NDEKTSV4RRFFQ69G5FAV", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav", "01ARZ3NDEKTSV4RRFFQ69G5FAU", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ulid.ParseStrict(s)
		if want := err == nil && id.String() == s; record.ValidID(s) != want {
			t.Errorf("ValidID(%q) = %v", s, !want)
		}
	})
}
