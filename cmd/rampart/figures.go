package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampartlog/rampart"
)

// figures collects what the parts count themselves.
type figures struct {
	r       *rampart.Rampart
	started time.Time
}

func newFigures(r *rampart.Rampart) figures { return figures{r: r, started: time.Now()} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rampart_"+name, help, labels, nil)
}

var (
	uptime           = desc("uptime_seconds", "Time since start.")
	pendingApprovals = desc("pending_approvals", "Approvals that wait for an answer.")
	created          = desc("approvals_created_total", "Approvals created.")
	resolved         = desc("approvals_resolved_total", "Approvals ended, by outcome.", "outcome")

	subscribers = desc("stream_subscribers", "Open streams.")
	opened      = desc("stream_opened_total", "Streams opened.")
	closed      = desc("stream_closed_total", "Streams ended, by reason.", "reason")
	sent        = desc("stream_events_sent_total", "Messages sent to all streams, by type.", "type")
	resumes     = desc("stream_resumes_total", "Resumed streams, by result.", "result")
	catchUp     = desc("stream_catch_up_events", "Events yet to be sent to streams that are fed from the log.")
	witness     = desc("witness_mismatches_total", "Readers whose last event is not on the log: it was rewritten or cut.")

	appended      = desc("audit_appended_total", "Events appended.")
	appendSeconds = desc("audit_append_seconds", "Time from an append's call to its return.")
	auditErrors   = desc("audit_errors_total", "Failed operations of the log.", "op")
	events        = desc("audit_events", "Events on the log.")
	size          = desc("audit_bytes", "Size of the log.")
	pruned        = desc("audit_pruned_events_total", "Events dropped from the front of the log in all its life.")
)

// Describe implements [prometheus.Collector]. It names no metric, since it could
// not name those whose label has no value yet.
func (f figures) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (f figures) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(uptime, time.Since(f.started).Seconds())

	queue := f.r.Approvals.Stats()
	gauge(pendingApprovals, float64(queue.Pending))
	count(created, queue.Created)
	for outcome, n := range queue.Resolved {
		count(resolved, n, string(outcome))
	}

	stream := f.r.Stream.Stats()
	gauge(subscribers, float64(stream.Open))
	count(opened, stream.Opened)
	for reason, n := range stream.Closed {
		count(closed, n, reason)
	}
	for typ, n := range stream.Sent {
		count(sent, n, string(typ))
	}
	for result, n := range stream.Resumes {
		count(resumes, n, result)
	}
	gauge(catchUp, float64(f.r.Bus.Stats().CatchUp))
	count(witness, stream.WitnessMismatches)

	audit := f.r.Chain.Stats()
	count(appended, audit.Appended)
	ch <- prometheus.MustNewConstHistogram(appendSeconds, audit.Append.Count, audit.Append.Sum, audit.Append.Buckets)
	for op, n := range audit.Errors {
		count(auditErrors, n, op)
	}
	count(pruned, audit.Pruned.Records)
	gauge(events, float64(audit.Events))
	gauge(size, float64(audit.Bytes))
}
