// Package segment holds the layout of the log on disk: files of lines, named
// by the number of their first record, and the index beside each.
//
// It opens no file itself; callers pass it files that package vfs opened.
package segment

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	lineSuffix  = ".jsonl"
	indexSuffix = ".idx"
	digits      = 20
)

// Name is the file name of the segment whose first record has the number first.
func Name(first uint64) string { return fmt.Sprintf("%0*d%s", digits, first, lineSuffix) }

// IndexName is the file name of the index of the segment [Name](first).
func IndexName(first uint64) string { return fmt.Sprintf("%0*d%s", digits, first, indexSuffix) }

// Owner is the inverse of [Name] and of [IndexName].
func Owner(name string) (first uint64, ok bool) {
	if num, ok := strings.CutSuffix(name, indexSuffix); ok {
		name = num + lineSuffix
	}
	return ParseName(name)
}

// ParseName is the inverse of [Name].
func ParseName(name string) (first uint64, ok bool) {
	num, ok := strings.CutSuffix(name, lineSuffix)
	if !ok || len(num) != digits {
		return 0, false
	}
	first, err := strconv.ParseUint(num, 10, 64)
	return first, err == nil && first > 0
}
