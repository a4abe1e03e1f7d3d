package store

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// target is a Redis to connect to, whatever the form of its URL.
type target struct {
	form               string // "redis", "unix", "sentinel", "cluster"
	addrs              []string
	master             string // Sentinel's name of it
	user, password     string
	sentinelUser       string
	sentinelPassword   string
	db                 int
	tls                *tls.Config
	name               string // for people, instead of the addresses
	checksVersion      bool   // false: miniredis, which has none
	ownsItsPersistence bool   // true: our child, whose settings are ours
}

func (t target) String() string {
	if t.name != "" {
		return t.name
	}
	s := t.form + " " + strings.Join(t.addrs, ",")
	if t.master != "" {
		s += " master " + t.master
	}
	if t.db != 0 {
		s += " db " + strconv.Itoa(t.db)
	}
	if t.tls != nil {
		s += " (TLS)"
	}
	return s
}

var errEncode = errors.New("a password with / ? # or @ must be percent-encoded (%2F %3F %23 %40)")

// parseURL never puts any of the user part, or what might be a piece of it,
// into an error. net/url does, and takes one host only.
func parseURL(raw string) (target, error) {
	t := target{checksVersion: true}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return t, errors.New(`no scheme: write "embedded" or one of redis:// rediss:// unix:// redis+sentinel:// redis+cluster://`)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if err := t.setScheme(scheme); err != nil {
		return t, err
	}
	if strings.ContainsAny(authority, "#") || strings.Contains(query, "#") || (t.form != "unix" && strings.Contains(path+query, "@")) {
		return t, errEncode
	}
	hosts, err := t.setUser(authority)
	if err != nil {
		return t, err
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return t, errors.New("parameters after the question mark are not well-formed")
	}
	if err := t.setPlace(hosts, path); err != nil {
		return t, err
	}
	return t, t.setParameters(parameters)
}

func (t *target) setScheme(scheme string) error {
	transport, form, _ := strings.Cut(scheme, "+")
	switch transport {
	case "redis":
	case "rediss":
		t.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	case "unix":
		if form != "" {
			return fmt.Errorf("unknown scheme %q", scheme)
		}
		t.form = "unix"
		return nil
	default:
		return fmt.Errorf("unknown scheme %q", scheme)
	}
	switch form {
	case "":
		t.form = "redis"
	case "sentinel", "cluster":
		t.form = form
	default:
		return fmt.Errorf("unknown scheme %q", scheme)
	}
	return nil
}

// setUser takes user and password off the authority.
func (t *target) setUser(authority string) (hosts string, err error) {
	at := strings.LastIndex(authority, "@")
	if at < 0 {
		return authority, nil
	}
	user, password, ok := strings.Cut(authority[:at], ":")
	if strings.ContainsAny(password, "@") {
		return "", errEncode
	}
	if !ok && user != "" {
		return "", errors.New("user without a password; a password alone is written :password@")
	}
	var err1, err2 error
	t.user, err1 = url.PathUnescape(user)
	t.password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return "", errors.New("user or password is not well percent-encoded")
	}
	return authority[at+1:], nil
}

// setPlace reads the hosts and the path.
func (t *target) setPlace(hosts, path string) error {
	path = strings.TrimSuffix(path, "/")
	switch t.form {
	case "unix":
		if hosts != "" || path == "" {
			return errors.New("a socket's path is absolute: unix:///path/to/socket")
		}
		socket, err := url.PathUnescape("/" + path)
		if err != nil {
			return errors.New("socket path is not well percent-encoded")
		}
		t.addrs = []string{socket}
		return nil
	case "sentinel":
		t.master, path, _ = strings.Cut(path, "/")
		if t.master == "" {
			return errors.New("name of the master missing: redis+sentinel://host:port,…/master")
		}
		return errors.Join(t.setHosts(hosts, "26379"), t.setDB(path))
	case "cluster":
		return errors.Join(t.setHosts(hosts, "6379"), t.setDB(path))
	}
	if strings.Contains(hosts, ",") {
		return errors.New("several hosts: write redis+sentinel:// or redis+cluster://")
	}
	return errors.Join(t.setHosts(hosts, "6379"), t.setDB(path))
}

func (t *target) setHosts(hosts, defaultPort string) error {
	for h := range strings.SplitSeq(hosts, ",") {
		host, port, err := net.SplitHostPort(h)
		if err != nil { // no port, or no address at all
			host, port = strings.Trim(h, "[]"), defaultPort
			if strings.Contains(host, ":") && net.ParseIP(host) == nil {
				return fmt.Errorf("host %q is not well-formed", h)
			}
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %q is no number from 1 to 65535", port)
		}
		if host == "" {
			return errors.New("host missing")
		}
		t.addrs = append(t.addrs, net.JoinHostPort(host, port))
		if t.tls != nil && len(t.addrs) == 1 && t.form == "redis" {
			t.tls.ServerName = host
		}
	}
	return nil
}

func (t *target) setDB(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("database %q is no number", text)
	}
	if n != 0 && t.form == "cluster" {
		return errors.New("a cluster has database 0 only")
	}
	t.db = int(n)
	return nil
}
