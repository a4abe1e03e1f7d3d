package ingest

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"m2mbridge/bridge/uplink"
)

// takenLimit is how long the device's side may take to acknowledge an answer
// with a downlink; it is less than the downlink's lease.
const takenLimit = 10 * time.Second

// answerWith answers with a downlink: header and body in one write, of a known
// length, since devices read once. What became of it is told when it is known:
// that a write succeeded says only that the kernel has it.
func (s *Server) answerWith(w http.ResponseWriter, r *http.Request, d *uplink.Downlink) {
	h := w.Header()
	h["Date"] = nil
	h["Content-Type"] = senmlType
	h["Content-Length"] = []string{strconv.Itoa(len(d.Body))}
	_, err := w.Write(d.Body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err == nil {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			err = Taken(c.Conn, takenLimit)
		}
	}
	if err != nil {
		d.Settle(false, "the answer did not reach the device: "+reasonOf(err))
		return
	}
	d.Settle(true, "the device took the whole answer")
}

// What keeps an answer from being one that the device took.
var (
	errNotTaken = errors.New("its side did not acknowledge all of it in time")
	errGone     = errors.New("its side closed the connection before")
)

var senmlType = []string{"application/senml+json"} // RFC 8428 §12.3.1; shared, never changed

func reasonOf(err error) string {
	if errors.Is(err, errNotTaken) || errors.Is(err, errGone) {
		return err.Error()
	}
	return "it could not be written"
}
