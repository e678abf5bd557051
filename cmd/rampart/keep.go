package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/rampartlog/rampart"
)

// pruneEvery is how often the log is looked at for what is older than -keep.
const pruneEvery = time.Hour

// parseKeep reads a duration, such as 2160h, or a number of days, such as 90d.
func parseKeep(s string) (time.Duration, error) {
	keep, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		keep = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || keep < 0 {
		return 0, errors.New("want a duration such as 2160h, or days such as 90d")
	}
	return keep, nil
}

// prune drops what is older than keep, at once and from then on until ctx is done.
func prune(ctx context.Context, chain *rampart.AuditChain, keep time.Duration, log *slog.Logger) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		n, err := chain.Prune(ctx, time.Now().Add(-keep))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("the log was not pruned", "error", err)
		case n > 0:
			log.Info("pruned the log", "events", n, "last_id", chain.Stats().Pruned.LastID)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
