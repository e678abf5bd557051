package fanout

import (
	"context"

	"github.com/rampartlog/rampart/bench/suite"
)

func grow(ctx context.Context, r *suite.Run) error { return nil }
