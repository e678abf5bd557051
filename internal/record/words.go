package record

// Strings are scanned eight bytes at a time, as one word: that takes about 1 ns
// for eight bytes, where byte by byte takes 4 ns.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// word is s[i:i+8], the first byte lowest. The compiler makes one load of it.
func word[T string | []byte](s T, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// special finds the bytes of w that can't stand in a JSON string as plain ASCII:
// controls, quotes, backslashes, and those of longer characters. It sets the
// high bit of the lowest such byte. Bits above that one may be wrong, because a
// subtraction borrows.
func special(w uint64) uint64 {
	return (w | (w - ' '*ones) | ((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones)) & highs
}

// isHex reports whether b is lower-case hex. The length of b must be a multiple of 8.
func isHex(b []byte) bool {
	good, all := uint64(highs), uint64(0)
	for i := 0; i+8 <= len(b); i += 8 {
		// While no byte has its high bit, adding 0x80-c sets it exactly where the byte is c or more.
		w := word(b, i)
		digit := (w + (0x80-'0')*ones) &^ (w + (0x80-'9'-1)*ones)
		letter := (w + (0x80-'a')*ones) &^ (w + (0x80-'f'-1)*ones)
		good &= digit | letter
		all |= w
	}
	return good == highs && all&highs == 0
}
