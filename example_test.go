package rampart_test

import (
	"context"
	"encoding/json"
	"expvar"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rampartlog/rampart"
	"github.com/rampartlog/rampart/daemon"
	"github.com/rampartlog/rampart/dashboard"
)

// Example is the embedding code of README.md.
func Example() {
	r, err := rampart.Open("audit", nil) // the log's directory, with what a crash left put in order
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/v1/", r.Handler(&rampart.Auth{AdminToken: os.Getenv("RAMPART_TOKEN")})) // stream, approvals, log
	http.Handle("/dashboard/", dashboard.Handler(nil))                                    // where a person answers
	l, err := daemon.Listen("localhost:9091")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("open %s/dashboard/", l.URL())

	gate := rampart.Gate{Recorder: r.Recorder(), Policy: func(_ context.Context, call rampart.AuditEvent) (rampart.Decision, error) {
		return rampart.Decision{Action: "ask", Message: "rewrites history"}, nil // or allow, watch, deny: your policy
	}}
	agent := func(ctx context.Context) {
		call := rampart.AuditEvent{Agent: "claude-code", Tool: "exec", Request: json.RawMessage(`{"command":"git push --force"}`)}
		_, err := gate.Do(ctx, call, func(ctx context.Context, request json.RawMessage) (rampart.Response, error) {
			log.Printf("here it would run: %s", request) // recorded on disk and approved, byte for byte
			return rampart.Response{}, nil
		})
		if err != nil {
			log.Print(err) // refused, by whom and why, for the agent to read; or what went wrong
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err = daemon.Serve(ctx, l, r, http.DefaultServeMux, &daemon.Options{Beside: []func(context.Context){agent}}) // closes r
	if err != nil {
		log.Fatal(err)
	}
}

// Example_mounted is a server that exists already, with Rampart among its routes. It stands in docs/embedding.md.
func Example_mounted() {
	r, err := rampart.Open("audit", nil) // with what a crash left put in order
	if err != nil {
		log.Fatal(err)
	}
	api := r.Handler(&rampart.Auth{AdminToken: os.Getenv("RAMPART_TOKEN")})

	mux := http.NewServeMux() // yours
	mux.Handle("/v1/", api)
	mux.Handle("/rampart/", http.StripPrefix("/rampart", api)) // or below a prefix
	mux.Handle("/dashboard/", dashboard.Handler(nil))          // the page

	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	srv.RegisterOnShutdown(func() { r.Stream.Close() })
	srv.RegisterOnShutdown(func() { r.Approvals.Close() })
	go func() {
		if err := srv.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()

	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	<-stop.Done()
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if srv.Shutdown(drain) != nil {
		srv.Close() // some peers do not read their answer
	}
	if err := r.Close(); err != nil { // last: all that was appended is on disk
		log.Fatal(err)
	}
}

// Example_dashboard is the page beside the API. It stands in docs/embedding.md.
func Example_dashboard() {
	var r *rampart.Rampart // as Open returned it
	auth := &rampart.Auth{AdminToken: os.Getenv("RAMPART_TOKEN")}
	http.Handle("/v1/", r.Handler(auth))
	http.Handle("/dashboard/", dashboard.Handler(nil))
}

// Example_chain is a log without a web server. It stands in docs/embedding.md.
func Example_chain() {
	chain, err := rampart.OpenAuditChain("audit", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer chain.Close()

	ctx := context.Background()
	saved, err := chain.Append(ctx, rampart.AuditEvent{
		Agent: "claude-code", Tool: "exec", Request: json.RawMessage(`{"command":"rm -rf /"}`),
		Decision: rampart.Decision{Action: "deny", Message: "deletes the whole file system"},
	})
	if err != nil {
		log.Fatal(err) // it is not on disk
	}
	for line, err := range chain.Query(ctx, rampart.Query{Filter: rampart.Filter{Action: []string{"deny"}}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
	report, err := chain.Verify(ctx, rampart.Anchor{ID: saved.ID, Hash: saved.Hash})
	if err != nil || !report.OK() {
		log.Fatal(report.Verdict, err)
	}
}

// Example_bus is the bus and its stream for a log of the host's own. It stands in docs/embedding.md.
func Example_bus() {
	bus := rampart.NewEventBus(nil)
	defer bus.Close()
	stream := rampart.NewStream(bus, nil) // end it at shutdown, as above
	http.Handle("GET /v1/events/stream", operatorsOnly(stream))

	// Whenever your log has taken a record in:
	err := bus.Publish(rampart.Event{Type: rampart.TypeAudit, ID: "000042", Record: rampart.Record(`{"tool":"exec"}`)})
	if err != nil {
		log.Print(err)
	}
}

// Example_metrics gives the figures to expvar. It stands in docs/embedding.md.
func Example_metrics() {
	var r *rampart.Rampart // as Open returned it
	auth := &rampart.Auth{AdminToken: os.Getenv("RAMPART_TOKEN")}
	figures := expvar.Func(func() any {
		return map[string]any{
			"events":             r.Chain.Stats().Events,
			"errors":             r.Chain.Stats().Errors,
			"subscribers":        r.Bus.Stats().Subscribers,
			"slowest_lag":        r.Bus.Stats().SlowestLag,
			"pending":            r.Approvals.Stats().Pending,
			"streams_closed":     r.Stream.Stats().Closed,
			"witness_mismatches": r.Stream.Stats().WitnessMismatches, // more than 0: look at once
		}
	})
	http.Handle("GET /debug/rampart", auth.Require(rampart.ScopeAdmin, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, figures) // not expvar.Publish, which would show them at /debug/vars to anybody
	})))
}

func operatorsOnly(h http.Handler) http.Handler { return h }
