//go:build linux

package fanout

// chunked decodes HTTP's chunked coding of a body that comes in pieces. Chunks may
// end anywhere, also within a marker. It trusts the server.
type chunked struct {
	left  int // bytes of the chunk that are still to come
	size  int // the size line as far as it was read
	state chunkState
}

type chunkState uint8

const (
	inSize chunkState = iota
	inSizeEnd
	inData
	inDataEnd
	inDone // the last chunk was seen
)

// feed calls data with pieces of the body, and reports whether the body goes on.
func (c *chunked) feed(p []byte, data func([]byte)) bool {
	for len(p) > 0 {
		switch c.state {
		case inSize:
			switch b := p[0]; {
			case b >= '0' && b <= '9':
				c.size = c.size<<4 | int(b-'0')
			case b >= 'a' && b <= 'f':
				c.size = c.size<<4 | int(b-'a'+10)
			case b == '\r':
				c.state = inSizeEnd
			}
			p = p[1:]
		case inSizeEnd:
			c.left, c.size, c.state = c.size, 0, inData
			if c.left == 0 {
				c.state = inDone
			}
			p = p[1:]
		case inData:
			n := min(c.left, len(p))
			data(p[:n])
			p = p[n:]
			if c.left -= n; c.left == 0 {
				c.state, c.left = inDataEnd, 2
			}
		case inDataEnd:
			n := min(c.left, len(p))
			p = p[n:]
			if c.left -= n; c.left == 0 {
				c.state = inSize
			}
		case inDone:
			return false
		}
	}
	return c.state != inDone
}
