package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/store"
)

func TestTLS(t *testing.T) {
	cert, key := selfSigned(t)
	port := freePort(t)
	startServer(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	st := open(t, store.Config{URL: "rediss://127.0.0.1:" + port + "?ca=" + cert + "&cert=" + cert + "&key=" + key})
	if err := st.CanStore(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := store.Open(t.Context(), store.Config{
		URL: "rediss://127.0.0.1:" + port + "?cert=" + cert + "&key=" + key, Patience: 2 * time.Second,
	})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority is taken: %v", err)
	}
}

func TestCluster(t *testing.T) {
	port := freePort(t)
	s := startServer(t, "--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--appendonly", "yes")
	cli(t, s.sock, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	st := open(t, store.Config{URL: "redis+cluster://127.0.0.1:" + port, Probe: []string{"m2m:{0}:probe", "m2m:{1}:probe"}})
	eventually(t, "the cluster stores", func() bool { return st.CanStore(t.Context()) == nil })

	_, err := store.Open(t.Context(), store.Config{URL: "redis://127.0.0.1:" + port})
	if err == nil || !strings.Contains(err.Error(), "write redis+cluster://") {
		t.Errorf("a cluster's node as a server: %v", err)
	}
	alone := freePort(t)
	startServer(t, "--port", alone, "--bind", "127.0.0.1")
	_, err = store.Open(t.Context(), store.Config{URL: "redis+cluster://127.0.0.1:" + alone, Patience: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "cluster support disabled") && !strings.Contains(err.Error(), "write redis://") {
		t.Errorf("a server as a cluster: %v", err)
	}
}

func TestSentinel(t *testing.T) {
	port, sentinel := freePort(t), freePort(t)
	startServer(t, "--port", port, "--bind", "127.0.0.1", "--requirepass", "pw", "--appendonly", "yes")
	startSentinel(t, sentinel, "sentinel monitor main 127.0.0.1 "+port+" 1\nsentinel auth-pass main pw\nrequirepass spw\n")
	st := open(t, store.Config{URL: "redis+sentinel://:pw@127.0.0.1:" + sentinel + "/main?sentinel_password=spw"})
	if err := st.CanStore(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := store.Open(t.Context(), store.Config{URL: "redis://:spw@127.0.0.1:" + sentinel, Patience: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "write redis+sentinel://") {
		t.Errorf("a Sentinel as a server: %v", err)
	}
	_, err = store.Open(t.Context(), store.Config{
		URL: "redis+sentinel://:pw@127.0.0.1:" + sentinel + "/other?sentinel_password=spw", Patience: 300 * time.Millisecond,
	})
	if err == nil {
		t.Error("a master that the Sentinel does not know is taken")
	}
}

// cli runs redis-cli, which ends with an error when the server says one.
func cli(t *testing.T, sock string, arguments ...string) {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-e", "-s", sock}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func startSentinel(t *testing.T, port, configuration string) {
	t.Helper()
	file := filepath.Join(shortDir(t), "sentinel.conf")
	text := "port " + port + "\nbind 127.0.0.1\ndir " + filepath.Dir(file) + "\n" + configuration
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", file, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "the Sentinel listens", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
