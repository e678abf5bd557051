//go:build linux

package audit

import (
	"database/sql"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/rampartlog/rampart"
)

const schema = `
CREATE TABLE IF NOT EXISTS events (
	seq       INTEGER PRIMARY KEY,
	timestamp INTEGER NOT NULL,
	agent     TEXT NOT NULL,
	session   TEXT NOT NULL,
	tool      TEXT NOT NULL,
	action    TEXT NOT NULL,
	json      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_timestamp ON events(timestamp);
CREATE INDEX IF NOT EXISTS events_agent     ON events(agent);
CREATE INDEX IF NOT EXISTS events_session   ON events(session);
CREATE INDEX IF NOT EXISTS events_tool      ON events(tool);
CREATE INDEX IF NOT EXISTS events_action    ON events(action);`

type sqliteStore struct {
	db     *sql.DB
	insert *sql.Stmt
}

func openSQLite(dir string, noSync bool) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	level := "FULL"
	if noSync {
		level = "OFF"
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "events.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous("+level+")")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // it has one writer at a time
	if _, err := db.Exec(schema); err != nil {
		return nil, err
	}
	insert, err := db.Prepare(`INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return nil, err
	}
	return &sqliteStore{db, insert}, nil
}

func (s *sqliteStore) put(first uint64, lines [][]byte, es []rampart.AuditEvent) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert := tx.Stmt(s.insert)
	for i, line := range lines {
		e := &es[i]
		if _, err := insert.Exec(int64(first)+int64(i), e.Timestamp.UnixNano(), e.Agent, e.Session, e.Tool, e.Decision.Action, string(line)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqliteStore) len() (n uint64, err error) {
	err = s.db.QueryRow(`SELECT coalesce(max(seq), 0) FROM events`).Scan(&n)
	return n, err
}

func (s *sqliteStore) scan(newest bool, fn func([]byte) bool) error {
	order := ""
	if newest {
		order = " DESC"
	}
	return s.rows(fn, `SELECT json FROM events ORDER BY seq`+order)
}

func (s *sqliteStore) rows(fn func([]byte) bool, text string, args ...any) error {
	rows, err := s.db.Query(text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var line sql.RawBytes
		if err := rows.Scan(&line); err != nil {
			return err
		}
		if !fn(line) {
			break
		}
	}
	return rows.Err()
}

func (s *sqliteStore) search(q *query) (lines [][]byte, err error) {
	where, order, args := "1", "seq DESC", []any{}
	add := func(condition string, v ...any) { where, args = where+" AND "+condition, append(args, v...) }
	if q.agent != "" {
		add("agent = ?", q.agent)
	}
	if q.action != "" {
		add("action = ?", q.action)
	}
	if q.tool != "" {
		// Without statistics sqlite may choose any index. The + keeps it off the one on
		// tool: half of the log has the same tool.
		add("+tool = ?", q.tool)
	}
	if q.to != 0 {
		add("timestamp >= ? AND timestamp < ?", q.since().UnixNano(), q.until().UnixNano())
		order = "timestamp DESC, seq DESC"
	}
	err = s.rows(func(line []byte) bool {
		lines = append(lines, append([]byte(nil), line...))
		return true
	}, `SELECT json FROM events WHERE `+where+` ORDER BY `+order+` LIMIT ?`, append(args, page)...)
	return lines, err
}

func (s *sqliteStore) close() error {
	s.insert.Close()
	return s.db.Close()
}
