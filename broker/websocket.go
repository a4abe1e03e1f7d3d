package broker

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	webSocketPath     = "/mqtt"
	webSocketProtocol = "mqtt" // [MQTT-6.0.0-3]
)

// serveHTTP takes MQTT from WebSockets. Pages of any origin may connect: a
// browser adds no credential of its own to MQTT's login, so that there is
// nothing a foreign page could borrow.
func (f *front) serveHTTP(ln *guardedListener) error {
	upgrader := &websocket.Upgrader{
		Subprotocols:    []string{webSocketProtocol},
		CheckOrigin:     func(*http.Request) bool { return true },
		ReadBufferSize:  1 << 10,
		WriteBufferSize: 1 << 10,
		WriteBufferPool: &sync.Pool{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc(webSocketPath, func(w http.ResponseWriter, r *http.Request) { f.upgrade(upgrader, w, r) })
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: f.b.cfg.ConnectTimeout,
		IdleTimeout:       f.b.cfg.ConnectTimeout,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(f.b.cfg.Log.Handler(), slog.LevelDebug),
		TLSNextProto:      nil,
	}
	defer srv.Close() // what never became a WebSocket
	if f.kind == KindWSS {
		srv.TLSConfig = f.b.cfg.TLS.Clone()
		srv.TLSConfig.NextProtos = []string{"http/1.1"} // WebSocket as we speak it is HTTP/1.1's
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

func (f *front) upgrade(up *websocket.Upgrader, w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(websocket.Subprotocols(r), webSocketProtocol) {
		http.Error(w, "the subprotocol mqtt is needed", http.StatusBadRequest)
		return
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // it has been answered
	}
	l := linkBelow(ws.NetConn())
	if l == nil {
		_ = ws.Close()
		return
	}
	f.take(l, &webSocket{Conn: ws.NetConn(), ws: ws})
}

// linkBelow finds the link that the listener gave, under TLS if need be.
func linkBelow(nc net.Conn) *link {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn()
	}
	l, _ := nc.(*link)
	return l
}

// webSocket is a WebSocket as a stream: MQTT packets need not fit its messages [MQTT-6.0.0-2].
type webSocket struct {
	net.Conn
	ws  *websocket.Conn
	msg io.Reader // what is left of the message being read
}

var errTextMessage = errors.New("text message on an MQTT WebSocket")

// Read reads on in the current message or the next.
func (w *webSocket) Read(p []byte) (int, error) {
	for {
		if w.msg == nil {
			kind, msg, err := w.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage { // [MQTT-6.0.0-1]
				return 0, errTextMessage
			}
			w.msg = msg
		}
		n, err := w.msg.Read(p)
		if err == io.EOF {
			w.msg, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes one message.
func (w *webSocket) Write(p []byte) (int, error) {
	if err := w.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline bounds Write: gorilla sets its own on the connection.
func (w *webSocket) SetWriteDeadline(t time.Time) error { return w.ws.SetWriteDeadline(t) }

// CloseWrite says that no more will come.
func (w *webSocket) CloseWrite() error {
	return w.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(lingerTime))
}
