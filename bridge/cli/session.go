package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"m2mbridge/bridge/api"
)

// Session is `m2mbridge session`.
type Session struct {
	List   SessionList   `cmd:"" help:"List the MQTT sessions of apps."`
	Get    SessionGet    `cmd:"" help:"Show a session, and how far it has read each stream."`
	Remove SessionRemove `cmd:"" help:"Remove a session: its subscriptions and its place in the streams are forgotten, its connection is cut."`
}

// SessionList is `m2mbridge session list`.
type SessionList struct {
	apiFlags
	App   string `placeholder:"NAME" help:"Only this app's."`
	Limit int    `default:"0" placeholder:"N" help:"How many to list at most. 0: all."`
}

// Help is the longer text of --help.
func (SessionList) Help() string {
	return `On a terminal long names are cut; --json shows them whole. Example, the
sessions that are away:

  m2mbridge session list --json | jq 'select(.connected | not)'`
}

// Run lists sessions in the order of their names.
func (c *SessionList) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.App != "" {
		query.Set("app", c.App)
	}
	t := newTable(env.Stdout, "no sessions", "SESSION", "STATE", "NODE", "BEHIND", "SEEN", "EXPIRES")
	err = client.list(env.Ctx, "/v1/sessions", query, c.Limit, func(item json.RawMessage) error {
		if c.JSON {
			return printJSON(env.Stdout, item, nil)
		}
		var s api.Session
		if err := json.Unmarshal(item, &s); err != nil {
			return fmt.Errorf("read session: %w", err)
		}
		expires := ""
		if !s.Connected { // else it moves on
			expires = day(s.ExpiresAt)
		}
		return t.row(s.App+"/"+s.ClientID, sessionState(&s), s.Node, behind(s.Lag), second(s.SeenAt), expires)
	})
	if err != nil || c.JSON {
		return err
	}
	return t.end()
}

func sessionState(s *api.Session) string {
	if s.Connected {
		return "connected"
	}
	return "away"
}

// behind says how far a session is behind.
func behind(l api.Lag) string {
	age := time.Duration(l.Seconds * float64(time.Second))
	if age >= time.Minute {
		age = age.Truncate(time.Minute)
	}
	text := age.Truncate(time.Second).String()
	if age >= time.Minute {
		text = strings.TrimSuffix(text, "0s")
	}
	switch {
	case l.Entries == nil:
		return text
	case *l.Entries == 0:
		return "-"
	}
	return strconv.FormatInt(*l.Entries, 10) + ", " + text
}

// SessionGet is `m2mbridge session get`.
type SessionGet struct {
	apiFlags
	Session string `arg:"" help:"APP/CLIENTID, as the list has it."`
}

// Help is the longer text of --help.
func (SessionGet) Help() string {
	return `Example:

  m2mbridge session get dashboard/dashboard-1`
}

// Run shows the session.
func (c *SessionGet) Run(env *Env) error {
	body, err := callSession(env, &c.apiFlags, http.MethodGet, c.Session)
	if err != nil || c.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var s api.Session
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	return showSession(env.Stdout, &s)
}

// callSession asks for one session, or to remove it.
func callSession(env *Env, f *apiFlags, method, name string) (json.RawMessage, error) {
	path, err := sessionPath(name)
	if err != nil {
		return nil, err
	}
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	body, err := client.call(env.Ctx, request{method: method, path: path})
	var refused *apiError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return nil, fmt.Errorf("there is no session %q; m2mbridge session list shows those there are", clip(name, 100))
	}
	return body, err
}

// sessionPath is where a session is. A client id may hold slashes, an app's
// name none.
func sessionPath(name string) (string, error) {
	app, clientID, ok := strings.Cut(name, "/")
	if !ok || app == "" || clientID == "" {
		return "", Usagef("%q is no session: want APP/CLIENTID, as m2mbridge session list has it", clip(name, 100))
	}
	segment := url.PathEscape(clientID)
	if clientID == "." || clientID == ".." {
		segment = strings.ReplaceAll(clientID, ".", "%2E") // a path is cleaned of these
	}
	return "/v1/sessions/" + url.PathEscape(app) + "/" + segment, nil
}

func showSession(w io.Writer, s *api.Session) error {
	line := func(name, value string) { fmt.Fprintf(w, "%-10s %s\n", name, printable(value)) }
	line("app", s.App)
	line("client id", s.ClientID)
	line("state", sessionState(s))
	line("node", s.Node)
	line("remote", s.Remote)
	line("mqtt", s.Version)
	line("created", day(s.CreatedAt))
	line("seen", second(s.SeenAt))
	if !s.Connected {
		line("expires", day(s.ExpiresAt))
	}
	line("kept for", s.Expiry)
	line("in flight", strconv.Itoa(s.InFlight))
	line("behind", behind(s.Lag))
	for _, sub := range s.Subscriptions {
		line("subscribed", fmt.Sprintf("%s (QoS %d)", sub.Filter, sub.QoS))
	}
	if len(s.Streams) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "", "STREAM", "PARTITION", "CURSOR", "BEHIND")
	for _, l := range s.Streams {
		if err := t.row(l.Stream, strconv.Itoa(l.Partition), l.Cursor, behind(l.Lag)); err != nil {
			return err
		}
	}
	return t.end()
}

// SessionRemove is `m2mbridge session remove`.
type SessionRemove struct {
	apiFlags
	Session string `arg:"" help:"APP/CLIENTID, as the list has it."`
}

// Help is the longer text of --help.
func (SessionRemove) Help() string {
	return `An app that still has the session is cut, and finds no session when it comes back.
Example:

  m2mbridge session remove dashboard/dashboard-1`
}

// Run removes the session.
func (c *SessionRemove) Run(env *Env) error {
	if _, err := callSession(env, &c.apiFlags, http.MethodDelete, c.Session); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"removed": c.Session})
	}
	fmt.Fprintf(env.Stdout, "removed %s\n", printable(c.Session))
	return nil
}
