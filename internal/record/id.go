package record

// IDForm says to a person what [ValidID] demands.
const IDForm = "an event's id, which has 26 characters of 0-9 and A-Z"

// ValidID reports whether s is an id as the log gives them: a ULID, which is 26
// upper-case digits of Crockford's base 32, the first at most 7 because there
// are 128 bits.
func ValidID[T string | []byte](s T) bool {
	if len(s) != 26 {
		return false
	}
	var bad byte
	for i := range len(s) {
		bad |= notCrockford[s[i]]
	}
	return bad == 0 && s[0] <= '7'
}

var notCrockford = func() (bad [256]byte) {
	for c := range bad {
		bad[c] = 1
	}
	for _, c := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
		bad[c] = 0
	}
	return bad
}()
