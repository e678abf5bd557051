package record_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/rampartlog/rampart/internal/record"
)

func TestValidTime(t *testing.T) {
	for s, want := range map[string]bool{
		"2026-03-03T10:15:30Z": true, "2026-03-03T10:15:30.5Z": true, "2026-03-03T10:15:30.123456789012+02:00": true, "2026-03-03T10:15:30-23:59": true,
		"0000-99-99T99:99:99Z": true, // there is no such day, which time.Parse knows

		"": false, "Z": false, "2026-03-03": false, "2026-03-03T10:15:30": false, "2026-03-03T10:15Z": false, "2026-03-03 10:15:30Z": false, "2026-03-03t10:15:30z": false,
		"2026-03-03T1:15:30Z": false, "2026-03-03T10:15:30,5Z": false, "2026-03-03T10:15:30.Z": false, "2026-03-03T10:15:30.5": false, "2026-03-03T10:15:30.5.5Z": false,
		"2026-03-03T10:15:30+24:00": false, "2026-03-03T10:15:30+02:60": false, "2026-03-03T10:15:30+2:00": false, "2026-03-03T10:15:30+0200": false,
		"2026-03-03T10:15:30ZZ": false, " 2026-03-03T10:15:30Z": false, "2026-03-03T10:15:30Z\n": false, "+2026-03-03T10:15:30Z": false, "２026-03-03T10:15:30Z": false,
	} {
		if record.ValidTime(s) != want {
			t.Errorf("ValidTime(%q) = %v", s, !want)
		}
	}
}

// What is valid is what the regular expression says, and time.Parse takes it
// wherever there is such a day.
func FuzzValidTime(f *testing.F) {
	for _, s := range []string{"2026-03-03T10:15:30Z", "2026-03-03T10:15:30.5+02:00", "2026-02-30T24:60:60.-23:59", "2026-03-03T1:15:30,5Z", "0000-01-01T00:00:00+23:59"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	day := regexp.MustCompile(`^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d`)
	f.Fuzz(func(t *testing.T, s string) {
		valid := record.ValidTime(s)
		if valid != form.MatchString(s) {
			t.Fatalf("ValidTime(%q) = %v", s, valid)
		}
		if _, err := time.Parse(time.RFC3339, s); valid && day.MatchString(s) && err != nil {
			t.Errorf("%q is valid: %v", s, err)
		}
	})
}
