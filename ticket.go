package rampart

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	ticketTTL  = time.Hour
	maxTickets = 10_000 // beyond it the oldest is void
)

// tickets opens the event stream to who holds one, as often as they reconnect
// within its hour. Digests alone are kept, in memory.
type tickets struct {
	mu     sync.Mutex
	issued []ticket // in the order of their expiry
	valids map[[sha256.Size]byte]time.Time
}

type ticket struct {
	digest  [sha256.Size]byte
	expires time.Time
}

func (t *tickets) issue(now time.Time) (token string, expires time.Time) {
	var random [32]byte
	rand.Read(random[:])
	token = base64.RawURLEncoding.EncodeToString(random[:])
	n := ticket{sha256.Sum256([]byte(token)), now.Add(ticketTTL).Truncate(time.Second)}
	t.mu.Lock()
	defer t.mu.Unlock()
	drop := max(0, len(t.issued)+1-maxTickets)
	for drop < len(t.issued) && !now.Before(t.issued[drop].expires) {
		drop++
	}
	for _, old := range t.issued[:drop] {
		delete(t.valids, old.digest)
	}
	t.issued = append(slices.Delete(t.issued, 0, drop), n)
	if t.valids == nil {
		t.valids = map[[sha256.Size]byte]time.Time{}
	}
	t.valids[n.digest] = n.expires
	return token, n.expires
}

func (t *tickets) valid(digest [sha256.Size]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	expires, ok := t.valids[digest]
	return ok && time.Now().Before(expires)
}

func (a *api) postTicket(w http.ResponseWriter, r *http.Request, _ Credential) error {
	token, expires := a.guard.tickets.issue(wallClock())
	return writeJSON(w, http.StatusOK, struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}{token, expires})
}
