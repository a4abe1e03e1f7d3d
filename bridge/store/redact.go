package store

import (
	"regexp"
	"strings"
)

const stars = "********"

var secretParameter = regexp.MustCompile(`(?i)([?&][a-z_]*password=)[^&]+`)

// Redact hides the passwords of a Redis URL, well-formed or not: all between
// the user's colon and the last @, and parameters named …password.
func Redact(url string) string {
	url = secretParameter.ReplaceAllString(url, "${1}"+stars)
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		scheme, rest = "", url
	} else {
		scheme += "://"
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return url
	}
	user, _, ok := strings.Cut(rest[:at], ":")
	if !ok { // perhaps a password that lacks its colon
		return scheme + stars + rest[at:]
	}
	return scheme + user + ":" + stars + rest[at:]
}
