package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// livez says that the process answers.
func (a *API) livez(w http.ResponseWriter, _ *http.Request) {
	writeHealth(w, http.StatusOK, health{Status: "alive"})
}

// readyLimit bounds the question whether uplinks can be stored.
const readyLimit = time.Second

// readyz says whether an uplink that came now could be stored.
func (a *API) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyLimit)
	defer cancel()
	if a.canStore != nil {
		if err := a.canStore(ctx); err != nil {
			w.Header().Set("Retry-After", "1")
			writeHealth(w, http.StatusServiceUnavailable, health{Status: "unavailable", Reason: err.Error()})
			return
		}
	}
	writeHealth(w, http.StatusOK, health{Status: "ready"})
}

type health struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

func writeHealth(w http.ResponseWriter, code int, h health) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A prober that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(h)
}
