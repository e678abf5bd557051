package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rampartlog/rampart"
)

// maxPairs bounds the pairs of action and policy that get a counter of their own,
// and maxName the bytes of a policy's name in a label; the rest is counted as
// "other".
const (
	maxPairs = 200
	maxName  = 256
)

// metrics serves GET /metrics. At each scrape it asks the parts for what they
// count, and reads what only events tell from the log, from where the last scrape
// ended.
type metrics struct {
	r     *rampart.Rampart
	serve http.Handler

	decisions *prometheus.CounterVec
	eval      prometheus.Histogram
	wait      prometheus.Histogram

	mu    sync.Mutex
	last  string             // id of the newest event counted
	pairs map[[2]string]bool // of action and policy
}

func newMetrics(r *rampart.Rampart) http.Handler {
	m := &metrics{
		r:     r,
		last:  r.Chain.Head().ID,
		pairs: make(map[[2]string]bool),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rampart_decisions_total",
			Help: "Events appended since start, by action and first matched policy.",
		}, []string{"action", "policy"}),
		eval: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "rampart_eval_duration_seconds",
			Help:    "Time that the host's policy took, as the events say.",
			Buckets: []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 1e-3, 1e-2, 0.1},
		}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "rampart_approval_wait_seconds",
			Help:    "Time from the creation of an approval to its resolution or expiry.",
			Buckets: []float64{1, 5, 15, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600},
		}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.decisions, m.eval, m.wait, newFigures(r),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.serve = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "metrics are read with GET", http.StatusMethodNotAllowed)
		return
	}
	if err := m.countNew(r.Context()); err != nil {
		http.Error(w, "reading the log: "+err.Error(), http.StatusInternalServerError)
		return
	}
	m.serve.ServeHTTP(w, r)
}

// countNew counts what was appended since the last call.
func (m *metrics) countNew(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for record, err := range m.r.Chain.Query(ctx, rampart.Query{After: m.last, Ascending: true}) {
		if err != nil {
			return err
		}
		e, err := record.Event()
		if err != nil {
			return err
		}
		m.count(e)
		m.last = e.ID
	}
	return nil
}

func (m *metrics) count(e rampart.AuditEvent) {
	policy := "none"
	if len(e.Decision.MatchedPolicies) > 0 {
		policy = e.Decision.MatchedPolicies[0]
	}
	// An escape in the log may decode to invalid UTF-8, which a label can't hold.
	policy = strings.ToValidUTF8(policy, "\ufffd")
	m.decisions.WithLabelValues(m.labels(e.Decision.Action, policy)...).Inc()
	m.eval.Observe(float64(e.Decision.EvaluationTimeUS) / 1e6)
	if wait, ok := approvalWait(e); ok {
		m.wait.Observe(wait.Seconds())
	}
}

// labels keeps label values in bounds, in number and in size, since agents
// choose them.
func (m *metrics) labels(action, policy string) []string {
	pair := [2]string{action, policy}
	if !m.pairs[pair] {
		if len(m.pairs) == maxPairs || len(policy) > maxName {
			return []string{"other", "other"}
		}
		m.pairs[pair] = true
	}
	return pair[:]
}

// approvalWait is how long the approval that e ends was open. The times in the two
// ids tell: an approval's id is that of the event that opened it.
func approvalWait(e rampart.AuditEvent) (time.Duration, bool) {
	var approval struct {
		ID string `json:"id"`
	}
	if e.Approval == nil || json.Unmarshal(e.Approval, &approval) != nil || approval.ID == "" {
		return 0, false
	}
	opened, err := ulid.ParseStrict(approval.ID)
	if err != nil {
		return 0, false
	}
	ended, err := ulid.ParseStrict(e.ID)
	if err != nil {
		return 0, false
	}
	return ulid.Time(ended.Time()).Sub(ulid.Time(opened.Time())), true
}
