package record

// AppendStrings appends the JSON object of those names and values to dst: name,
// value, name, value. Names stand in it as they are, so they must need no
// escape; values are checked as by [AppendString]. The error names the member,
// and dst is then as it was.
func AppendStrings(dst []byte, pairs ...string) ([]byte, error) {
	out := append(dst, '{')
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), pairs[i]...), '"', ':')
		var err error
		if out, err = AppendString(out, pairs[i+1]); err != nil {
			return dst, &memberError{pairs[i], err}
		}
	}
	return append(out, '}'), nil
}

// Decode checks the object src as [Members] does, and decodes those of its
// members that have a target: *string, **string, *int64, **bool, *[]byte (an
// object, as a view of src) or *[]string.
//
// Names are matched exactly, letter case included. A null leaves its target as
// it is, except that a list must be one: absence of a list means everything.
// The error is a [*SyntaxError] with its offset into src; what the targets hold
// then has no meaning.
func Decode(src []byte, targets map[string]any) error {
	return Members(src, func(name string, value []byte, offset int) error {
		m := member{name, value, offset}
		target := targets[name]
		if _, isList := target.(*[]string); string(value) == "null" && !isList {
			return nil
		}
		switch target := target.(type) {
		case nil:
			return nil
		case *string:
			return m.text(target)
		case **string:
			*target = new(string)
			return m.text(*target)
		case *int64:
			if m.integer(target) != nil {
				return &SyntaxError{offset, name + ": expected a whole number of 64 bits"}
			}
			return nil
		case **bool:
			*target = new(bool)
			return m.boolean(*target)
		case *[]byte:
			return m.object(target)
		case *[]string:
			return m.texts(target)
		}
		panic("record: Decode knows no such target as that of " + name)
	})
}
