package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// IfMatch is the condition that changes may carry (RFC 9110 §13.1.1).
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"1000" doc:"ETags of which it must have one, else 412; * for any. None: it is changed whatever it is" example:"\"mi0cnnrk\""`
}

// IfNoneMatch is the condition of GET, for a copy that one has (RFC 9110 §13.1.2).
type IfNoneMatch struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"1000" doc:"ETags of copies at hand: 304 if one of them is still right"`
}

// entityTag is the ETag of a revision.
func entityTag(revision int64) string { return `"` + strconv.FormatInt(revision, 36) + `"` }

// matches reports whether a header's list has the revision; weak tags only
// count where weak is allowed.
func matches(list string, revision int64, weak bool) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	want := entityTag(revision)
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		if weak {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if tag == want {
			return true
		}
	}
	return false
}

// check refuses a change of another revision than those meant.
func (c IfMatch) check(revision int64) error {
	if c.IfMatch == "" || matches(c.IfMatch, revision, false) {
		return nil
	}
	return auth.ErrRevision
}

// revision is what the registry is to hold a change against, once check has
// let the revision through that was read.
func (c IfMatch) revision(read int64) int64 {
	if c.IfMatch == "" {
		return auth.AnyRevision
	}
	return read
}

// check answers 304 where the copy at hand is right.
func (c IfNoneMatch) check(revision int64) error {
	if c.IfNoneMatch == "" || !matches(c.IfNoneMatch, revision, true) {
		return nil
	}
	return huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"Etag": {entityTag(revision)}})
}
