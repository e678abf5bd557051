//go:build linux

package audit

import (
	"context"
	"fmt"
	"os"

	"github.com/rampartlog/rampart"
)

type oursLog struct{ *rampart.AuditChain }

func openOurs(dir string, m mode) (journal, error) {
	opts := &rampart.AuditOptions{}
	if m.NoSync {
		opts.Sync = rampart.SyncNever
	}
	c, err := rampart.OpenAuditChain(dir, opts)
	if err != nil {
		return nil, err
	}
	return oursLog{c}, nil
}

func (o oursLog) Append(e rampart.AuditEvent) error {
	_, err := o.AuditChain.Append(context.Background(), e)
	return err
}

func (o oursLog) AppendAll(es []rampart.AuditEvent) error {
	_, err := o.AuditChain.AppendAll(context.Background(), es)
	return err
}

func (o oursLog) Len() (int, error) { return int(o.Stats().Events), nil }

func (o oursLog) Query(q *query, decode bool) (a answer, err error) {
	rq := rampart.Query{}
	if q.agent != "" {
		rq.Agent = []string{q.agent}
	}
	if q.tool != "" {
		rq.Tool = []string{q.tool}
	}
	if q.action != "" {
		rq.Action = []string{q.action}
	}
	if q.to != 0 {
		rq.Since, rq.Until = q.since(), q.until()
	}
	for r, err := range o.AuditChain.Query(context.Background(), rq) {
		if err != nil {
			return a, err
		}
		if decode {
			e, err := r.Event()
			if err != nil {
				return a, err
			}
			a.events = append(a.events, e)
		} else {
			a.lines = append(a.lines, r)
		}
		if len(a.lines)+len(a.events) == page {
			break
		}
	}
	return a, nil
}

func verifyOurs(dir string, _ int, seen func([]byte) error) (int, error) {
	report, err := rampart.VerifyChain(context.Background(), os.DirFS(dir))
	if err != nil {
		return 0, err
	}
	if !report.OK() {
		return 0, fmt.Errorf("%s: %w", report.Verdict, report.Fault)
	}
	if seen == nil {
		return int(report.Events), nil
	}
	c, err := rampart.OpenAuditChain(dir, nil)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for r, err := range c.Query(context.Background(), rampart.Query{Ascending: true}) {
		if err != nil {
			return 0, err
		}
		if err := seen(r); err != nil {
			return 0, err
		}
	}
	return int(report.Events), nil
}
