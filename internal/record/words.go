package record

// Eight bytes are looked at together, as one word: a string costs about 1 ns
// for each 8 bytes in place of 4.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// word is s[i:i+8], the first byte lowest. The compiler makes one load of it.
func word[T string | []byte](s T, i int) uint64 {
	_ = s[i+7]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}

// special marks, with its high bit, the lowest byte of w that cannot stand in
// a JSON string as plain ASCII: a control, a quote, a backslash, or one of a
// longer character. Marks above the lowest may be wrong: a subtraction borrows.
func special(w uint64) uint64 {
	return (w | (w - ' '*ones) | ((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones)) & highs
}

// isHex reports whether b is lower-case hex. Its length must be a multiple of 8.
func isHex(b []byte) bool {
	good := uint64(highs)
	for i := 0; i < len(b); i += 8 {
		w := word(b, i)
		// Once no byte has its high bit, adding 0x80-c sets it exactly where the byte is c or more.
		v := w &^ highs
		digit := (v + (0x80-'0')*ones) &^ (v + (0x80-'9'-1)*ones)
		letter := (v + (0x80-'a')*ones) &^ (v + (0x80-'f'-1)*ones)
		good &= (digit | letter) &^ w
	}
	return good == highs
}
