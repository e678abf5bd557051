package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"time"
)

const (
	ticketTTL  = time.Hour
	maxTickets = 10_000 // beyond it the oldest is void
)

// tickets holds the tickets that open the event stream, each for an hour and as
// often as its holder reconnects. It keeps their digests alone, and in memory.
type tickets struct {
	mu      sync.Mutex
	issued  []ticket // in the order of their expiry
	expires map[[sha256.Size]byte]time.Time
}

type ticket struct {
	digest  [sha256.Size]byte
	expires time.Time
}

// Issue makes a ticket: a token that opens the event stream, and nothing else,
// until it expires an hour after now. Of more than 10,000 the oldest is void.
func (g *Guard) Issue(now time.Time) (token string, expires time.Time) {
	var random [32]byte
	rand.Read(random[:])
	token = base64.RawURLEncoding.EncodeToString(random[:])
	return token, g.tickets.add(sha256.Sum256([]byte(token)), now)
}

func (t *tickets) add(digest [sha256.Size]byte, now time.Time) (expires time.Time) {
	n := ticket{digest, now.Add(ticketTTL).Truncate(time.Second)}
	t.mu.Lock()
	defer t.mu.Unlock()
	drop := max(0, len(t.issued)+1-maxTickets)
	for drop < len(t.issued) && !now.Before(t.issued[drop].expires) {
		drop++
	}
	for _, old := range t.issued[:drop] {
		delete(t.expires, old.digest)
	}
	t.issued = append(slices.Delete(t.issued, 0, drop), n)
	if t.expires == nil {
		t.expires = map[[sha256.Size]byte]time.Time{}
	}
	t.expires[n.digest] = n.expires
	return n.expires
}

func (t *tickets) valid(digest [sha256.Size]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	expires, ok := t.expires[digest]
	return ok && time.Now().Before(expires)
}
