package uplink

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/senml"
)

// grants believes everybody, so that the fuzzer sees what stands behind the token.
type grants struct{ asked auth.DeviceID }

func (g *grants) VerifyToken(_ context.Context, id auth.DeviceID, _ []byte, _ string) (auth.Proof, error) {
	g.asked = id
	return auth.Proof{Device: id, Secret: 1}, nil
}

func (g *grants) VerifyTokenNUL(ctx context.Context, id auth.DeviceID, body []byte, token string) (auth.Proof, error) {
	return g.VerifyToken(ctx, id, body, token)
}

func (g *grants) Seal(ctx context.Context, id auth.DeviceID, body []byte) (auth.Proof, error) {
	return g.VerifyToken(ctx, id, body, "")
}

// FuzzCheck sends any bytes as the body of either edge. What passes every step
// is a pack of the device that was verified, in every record.
func FuzzCheck(f *testing.F) {
	file, err := os.Open("../../senml/testdata/senml.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var v vector
		if json.Unmarshal(lines.Bytes(), &v) == nil && v.Body != "" {
			f.Add([]byte(strings.NewReplacer("@BN@", testID.BaseName(), "@IMEI@", testID.Value()).Replace(v.Body)), true)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, http bool) {
		g := &grants{}
		s := &Service{cfg: Config{Registry: g, TrailingNUL: true, Now: time.Now}, judged: &state{log: slog.New(slog.DiscardHandler)}}
		s.pool.New = func() any { return new(uplink) }
		m := &Message{Via: MQTT, Login: testID, Body: body}
		if http {
			m = &Message{Via: HTTP, PathType: "IMEI", Body: body, HasToken: true, Token: "t"}
		}
		u := s.begin(m)
		if err := s.check(context.Background(), u); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("refusal %q is not one line", err)
			}
			return
		}
		if g.asked != u.id || !http && u.id != testID {
			t.Fatalf("verified %s, stored as %s", g.asked, u.id)
		}
		if u.heartbeat {
			return
		}
		var p senml.Pack
		if err := p.Decode(u.normalised, senml.Options{MaxLabels: 1 << 20}); err != nil {
			t.Fatalf("normalised pack %q: %v", u.normalised, err)
		}
		if err := p.Resolve(u.at); err != nil {
			t.Fatalf("normalised pack %q: %v", u.normalised, err)
		}
		for r := range p.Resolved() {
			if !strings.HasPrefix(r.Name, u.id.BaseName()) {
				t.Fatalf("record named %q in a pack of %s", r.Name, u.id)
			}
		}
	})
}
