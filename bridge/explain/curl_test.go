package explain

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What curl itself makes of a file.
func TestExplainWhatCurlSends(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed")
	}
	got := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- body
	}))
	defer server.Close()
	text := indented(pack) + "\n"
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]string{"-d": "body-line-ends-stripped", "--data-binary": ""} {
		if out, err := exec.CommandContext(t.Context(), "curl", "-sS", "-m10", option, "@"+file, server.URL).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		r := Explain(Input{Body: <-got, Token: token(text, secret), Secrets: []string{secret}})
		if code := firstCode(r); code != want || r.Match != (want == "") {
			t.Errorf("curl %s: %+v", option, r)
		}
	}
}

func firstCode(r Report) string {
	if len(r.Findings) == 0 {
		return ""
	}
	return r.Findings[0].Code
}
