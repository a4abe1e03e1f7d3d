package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// imported is an answer of an import.
type imported struct {
	faults  map[int]string
	secrets map[string]string
	changes map[string]string // of a dry run: action and changes
	total   importTotal
	last    string // the error without a line, if any
}

// importFrom sends a body while it reads the answer.
func (a *testAPI) importFrom(key, query, media string, body io.Reader) imported {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), "POST", a.url+"/v1/devices/import?"+query, body)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(resp.Body)
		a.t.Fatalf("%d %s", resp.StatusCode, text)
	}
	got := imported{faults: map[int]string{}, secrets: map[string]string{}, changes: map[string]string{}}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var l struct {
			importFault
			Secret, Action string
			Changes        json.RawMessage
			Done           bool
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			a.t.Fatalf("%v in %s", err, lines.Text())
		}
		switch {
		case got.total.Done:
			a.t.Fatalf("%s behind the last line", lines.Text())
		case l.Done:
			_ = json.Unmarshal(lines.Bytes(), &got.total)
		case l.Error != "" && l.Line == 0:
			got.last = l.Error
		case l.Error != "":
			got.faults[l.Line] += l.Error
		case l.Secret != "":
			got.secrets[l.ID] = l.Secret
		case l.Action != "":
			got.changes[l.ID] = l.Action + " " + string(l.Changes)
		}
	}
	if err := lines.Err(); err != nil {
		a.t.Fatal(err)
	}
	return got
}

func (a *testAPI) importText(query, media, body string) imported {
	a.t.Helper()
	return a.importFrom(adminKey, query, media, strings.NewReader(body))
}

func total(rows, created, changed, unchanged, faults int) importTotal {
	return importTotal{Done: true, Rows: rows, Created: created, Changed: changed, Unchanged: unchanged, Faults: faults}
}

func (a *testAPI) totals(got imported, want importTotal) {
	a.t.Helper()
	if got.total != want {
		a.t.Errorf("%+v, want %+v; faults %v, %s", got.total, want, got.faults, got.last)
	}
}

func TestImportOfObjects(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.device(imei1, `{"site":"depot"}`)
		body := "\ufeff" + `{"id":"` + imei1 + `","name":"Pump 7","sms":false}` + "\r\n\r\n" +
			`{"id":"` + uuid1 + `","secret":"` + secretOf(uuid1) + `","msisdn":"+31612345678","labels":{"a":"b"}}` + "\n" +
			`{"id":"imei:490154203237518","unsigned":true}` // without a line end
		dry := a.importText("dryRun=true", typeNDJSON, body)
		a.totals(dry, total(3, 2, 1, 0, 0))
		for id, want := range map[string]string{
			imei1: `change [{"field":"name","to":"Pump 7"},{"field":"sms","to":false}]`,
			uuid1: `create [{"field":"msisdn","to":"31612345678"},{"field":"labels","to":{"a":"b"}},{"field":"secret","to":"new"}]`,
			imei2: `create [{"field":"unsigned","from":false,"to":true}]`,
		} {
			if dry.changes[id] != want {
				t.Errorf("%s\nwant %s", dry.changes[id], want)
			}
		}
		a.want(404, adminKey, "GET", "/v1/devices/"+imei2, "", nil)

		a.totals(a.importText("", typeNDJSON, body), total(3, 2, 1, 0, 0))
		a.totals(a.importText("", typeNDJSON, body), total(3, 0, 0, 3, 0))
		var d Device
		got := a.want(200, adminKey, "GET", path1, "", &d)
		if d.Name != "Pump 7" || d.SMS || d.Labels["site"] != "depot" || d.Secrets != 1 {
			t.Errorf("%s", got.body)
		}
		a.totals(a.importText("", typeNDJSON, `{"id":"`+imei1+`","name":null,"sms":null,"labels":{"x":"y"}}`), total(1, 0, 1, 0, 0))
		d = Device{}
		got = a.want(200, adminKey, "GET", path1, "", &d)
		if d.Name != "" || !d.SMS || !reflect.DeepEqual(d.Labels, map[string]string{"x": "y"}) {
			t.Errorf("%s", got.body)
		}
	})
}

func TestImportOfCells(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, `{"site":"depot"}`)
	a.patch(adminKey, path1, `{"ratePlan":"M2M","name":"old"}`)
	body := "\ufeffid;Name;labels;SMS;secret\r\n" +
		imei1 + `;"Pump; ""7""";"a=b;c=d\;e\\";no;` + "\r\n" +
		uuid1 + ";;;;" + secretOf(uuid1) + "\r\n"
	a.totals(a.importText("", "text/csv; charset=utf-8", body), total(2, 1, 1, 0, 0))
	a.totals(a.importText("format=csv", "", body), total(2, 0, 0, 2, 0))
	var d Device
	got := a.want(200, adminKey, "GET", path1, "", &d)
	if d.Name != `Pump; "7"` || d.SMS || d.RatePlan != "M2M" || !reflect.DeepEqual(d.Labels, map[string]string{"a": "b", "c": `d;e\`}) || d.Secrets != 1 {
		t.Errorf("%s", got.body)
	}
	a.totals(a.importText("", typeCSV, "id,name,labels\n"+imei1+",,\n"), total(1, 0, 1, 0, 0))
	d = Device{}
	a.want(200, adminKey, "GET", path1, "", &d)
	if d.Name != "" || len(d.Labels) != 0 || d.SMS {
		t.Errorf("%+v", d)
	}
	a.totals(a.importText("", typeNDJSON, ""), total(0, 0, 0, 0, 0))
	a.totals(a.importText("", typeCSV, "sep=;\r\nid;name\r\n"+imei1+";a,b\r\n"), total(1, 0, 1, 0, 0))
	a.totals(a.importText("", typeNDJSON, `{"id":"`+imei1+`","labels":{"a":null,"b":"c"},"name":"\ud83d\ude00\\ud800"}`), total(1, 0, 1, 0, 0))
	d = Device{}
	a.want(200, adminKey, "GET", path1, "", &d)
	if d.Name != "\U0001f600\\ud800" || !reflect.DeepEqual(d.Labels, map[string]string{"b": "c"}) {
		t.Errorf("%+v", d)
	}
	a.totals(a.importText("", typeCSV, "id"), total(0, 0, 0, 0, 0))
}

// Every fault of a file is told with its line, whatever it is.
func TestImportTellsAllFaults(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.device(imei1, "")
		good := `,"secret":"` + secretOf("x123456789") + `"}`
		lines := []struct{ text, want string }{
			{`{"id":"` + imei1 + `","name":"fine"}`, ""},
			{`{"id":"IMEI:1"` + good, "id: invalid device id"},
			{`{"name":"nobody"}`, "id: it is missing"},
			{`{"id":"` + imei(1) + `"`, "want one JSON object a line"},
			{`[{"id":"` + imei(1) + `"}]`, "want one JSON object a line"},
			{`null`, "want one JSON object a line"},
			{`{"id":"` + imei(2) + `","naem":"x"` + good, "naem: there is no such field"},
			{`{"id":"` + imei(3) + `","name":7,"sms":"x"` + good, "name: want a string; sms: want true or false"},
			{`{"id":"` + imei(4) + `","secret":"short"}`, "secret: "},
			{`{"id":"` + imei(5) + `"}`, "it has no secret and is not unsigned"},
			{`{"id":"` + imei(6) + `","unsigned":true` + good, "unsigned"},
			{`{"id":"` + imei(7) + `","iccid":"12"` + good, "iccid"},
			{`{"id":"` + imei(8) + `","labels":{"a b":"c"}` + good, "label"},
			{`{"id":"` + imei1 + `"}`, "on line 1 already"},
			{strings.Repeat("x", maxLine+1), "longer than 65536 bytes"},
			{`{"id":"` + imei(11) + `","name":"a","n\u0061me":"b"` + good, `"name" is given twice`},
			{`{"id":"` + imei(12) + `","labels":{"a":"b","a":"c"}` + good, `"a" is given twice`},
			{`{"id":"` + imei(13) + `","name":"\ud800x"` + good, `\ud800 stands without its other half`},
			{`{"id":"` + imei(14) + `","name":"\ude00\ud83d"` + good, `\ude00 stands without its other half`},
			{`{"id":"` + imei(9) + `","name":"` + "\xff" + `"` + good, "not UTF-8"},
			{strings.Repeat("x", 5*maxLine), "longer than 65536 bytes"},
			{`{"id":"` + imei(10) + `","name":"last"` + good, ""},
		}
		var body strings.Builder
		faults := 0
		for _, l := range lines {
			body.WriteString(l.text + "\n")
			if l.want != "" {
				faults++
			}
		}
		check := func(got imported) {
			t.Helper()
			for i, l := range lines {
				if fault := got.faults[i+1]; !strings.Contains(fault, l.want) || (fault == "") != (l.want == "") {
					t.Errorf("line %d: %q, want %q", i+1, fault, l.want)
				}
			}
			if text := fmt.Sprint(got); strings.Contains(text, secretOf("x123456789")) {
				t.Error("the answer shows a secret")
			}
		}
		got := a.importText("dryRun=true", typeNDJSON, body.String())
		check(got)
		got = a.importText("", typeNDJSON, body.String())
		check(got)
		want := total(len(lines), 0, 0, 0, faults)
		want.Left = 2
		a.totals(got, want)
		got = a.importText("skipFaults=true", typeNDJSON, body.String())
		check(got)
		a.totals(got, total(len(lines), 1, 1, 0, faults))
	})
}

func TestImportTellsFaultsOfCells(t *testing.T) {
	a := start(t, redistest.Start(t))
	for header, want := range map[string]string{
		"name": "no column id", "id,colour": `unknown column "colour"`, "id,name,NAME": "column name twice", "id,label:site": `unknown column "label:site"`,
		`id,"name`: "does not end on its line", "id,,name": `unknown column ""`, "\xff\xfei\x00d\x00": "not UTF-8", `"id"x,name`: "closing quote",
	} {
		got := a.importText("", typeCSV, header+"\n"+imei1+",x\n")
		if !strings.Contains(got.faults[1], want) || len(got.faults) != 1 {
			t.Errorf("%q: %v, want %s", header, got.faults, want)
		}
		a.totals(got, total(0, 0, 0, 0, 1))
	}
	for body, want := range map[string]string{
		"": "the file is empty", "\n\r\n \n": "the file is empty", "sep=;\n": "the file is empty",
		"id,name\r" + imei1 + ",x\r": "CR alone", strings.Repeat("id,name\r", maxLine): "CR alone",
	} {
		got := a.importText("", typeCSV, body)
		if !strings.Contains(got.faults[1], want) {
			t.Errorf("%.20q: %v, want %s", body, got.faults, want)
		}
		a.totals(got, total(0, 0, 0, 0, 1))
	}
	body := "id,name,unsigned,labels\n"
	wants := map[int]string{}
	for i, l := range [][2]string{
		{imei(1) + ",x,true,", ""}, {imei(2) + ",x,true", "it has 3 cells, the header has 4"}, {imei(3) + ",x,true,,", "5 cells"}, {imei(4) + ",x,maybe,", "unsigned: "},
		{imei(5) + `,"x,true,`, "does not end on its line"}, {imei(6) + ",x,true,a", "labels: "}, {imei(7) + ",x,true,a=b;a=c", "twice"}, {imei(8) + `,x,true,a=\b`, "backslash"},
		{",x,true,", "id: "}, {imei(9) + `,"x"y,true,`, "closing quote"}, {imei(10) + ",x,,", "no secret"}, {imei(1) + ",y,true,", "on line 2 already"}, {imei(11) + ",x,true,", ""},
	} {
		body += l[0] + "\n"
		if l[1] != "" {
			wants[i+2] = l[1]
		}
	}
	got := a.importText("skipFaults=true", typeCSV, body)
	a.totals(got, total(13, 2, 0, 0, len(wants)))
	for line, want := range wants {
		if !strings.Contains(got.faults[line], want) {
			t.Errorf("line %d: %q, want %q", line, got.faults[line], want)
		}
	}
}

func TestImportMakesSecrets(t *testing.T) {
	a := start(t, redistest.Start(t))
	body := `{"id":"` + imei1 + `"}` + "\n" + `{"id":"` + imei2 + `","unsigned":true}`
	if dry := a.importText("dryRun=true&generateSecrets=true", typeNDJSON, body); dry.changes[imei1] != `create [{"field":"secret","to":"new"}]` || len(dry.secrets) != 0 {
		t.Errorf("%+v", dry)
	}
	got := a.importText("generateSecrets=true", typeNDJSON, body)
	a.totals(got, total(2, 2, 0, 0, 0))
	stored, err := a.registry.Secrets(t.Context(), imei1)
	if err != nil || len(stored) != 1 || got.secrets[imei1] != stored[0] || len(got.secrets) != 1 {
		t.Errorf("%v, %d secrets told", err, len(got.secrets))
	}
	got = a.importText("generateSecrets=true", typeNDJSON, body)
	a.totals(got, total(2, 0, 0, 2, 0))
	if len(got.secrets) != 0 {
		t.Error("secrets were made anew")
	}
	// A new secret is a rotation, and the diff says of it only that it is new.
	body = `{"id":"` + imei1 + `","secret":"` + secretOf(imei1) + `"}`
	if dry := a.importText("dryRun=true", typeNDJSON, body); dry.changes[imei1] != `change [{"field":"secret","to":"new"}]` {
		t.Errorf("%+v", dry)
	}
	a.totals(a.importText("window=1h", typeNDJSON, body), total(1, 0, 1, 0, 0))
	var d Device
	a.want(200, adminKey, "GET", path1, "", &d)
	if d.Secrets != 2 || d.Rotation == nil || time.Until(d.Rotation.EndsAt) > time.Hour {
		t.Errorf("%+v", d)
	}
	a.totals(a.importText("", typeNDJSON, body), total(1, 0, 0, 1, 0))
}

func TestFilterBoundsImports(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, `{"site":"depot"}`)
	a.device(imei2, `{"site":"other"}`)
	key := a.app("fleet", "device.write device.read", "site=depot")
	body := `{"id":"` + imei1 + `","name":"mine"}` + "\n" +
		`{"id":"` + imei2 + `","labels":{"site":"depot"}}` + "\n" + // would gain it
		`{"id":"` + uuid1 + `","unsigned":true}` + "\n" +
		`{"id":"` + imei(1) + `","unsigned":true,"labels":{"site":"depot"}}` + "\n"
	got := a.importFrom(key, "skipFaults=true", typeNDJSON, strings.NewReader(body))
	a.totals(got, total(4, 1, 1, 0, 2))
	for _, line := range []int{2, 3} {
		if !strings.Contains(got.faults[line], "not among the devices of app fleet") {
			t.Errorf("line %d: %q", line, got.faults[line])
		}
	}
	if got := a.importFrom(key, "dryRun=true&skipFaults=true", typeNDJSON, strings.NewReader(`{"id":"`+imei1+`","labels":null}`)); got.total.Faults != 1 {
		t.Errorf("%+v", got)
	}
	if got := a.call(key, "GET", "/v1/devices/export", ""); strings.Count(string(got.body), "\n") != 2 || contains(got.body, imei2) {
		t.Errorf("%s", got.body)
	}
	a.expect(a.call(a.app("reader", "device.read"), "POST", "/v1/devices/import", "{}", "Content-Type", typeCSV), 403, "device.write")
	a.expect(a.call(a.app("writer", "device.write"), "GET", "/v1/devices/export", ""), 403, "device.read")
}

func TestImportRefusesOtherMedia(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.expect(a.call(adminKey, "POST", "/v1/devices/import", `{}`), 415, typeCSV)
	a.expect(a.call(adminKey, "POST", "/v1/devices/import?window=x&format=csv", `{}`), 422, "query.window")
	a.expect(a.call(adminKey, "POST", "/v1/devices/import?window=99999h&format=csv", `id`), 422, "query.window")
}

// An import answers while it is read, and one too many is told to wait.
func TestImportAnswersAsItReads(t *testing.T) {
	a := start(t, redistest.Start(t))
	var writers []*io.PipeWriter
	ended := make(chan imported, importsAtOnce)
	for i := range importsAtOnce {
		key := a.app(fmt.Sprint("importer", i), "device.write")
		body, w := io.Pipe()
		writers = append(writers, w)
		go func() { ended <- a.importFrom(key, "skipFaults=true", typeNDJSON, body) }()
		var rows bytes.Buffer
		for j := range importBatch {
			fmt.Fprintf(&rows, `{"id":"%s","unsigned":true}`+"\n", imei(i*importBatch+j))
		}
		if _, err := w.Write(rows.Bytes()); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(w, "x") // so that the batch before is on its way
		a.awaitDevice(imei(i * importBatch))
		if i == 0 {
			a.expect(a.call(key, "POST", "/v1/devices/import?format=csv", "id"), 429, "share of imports at this node, which is 1")
		}
	}
	got := a.call(adminKey, "POST", "/v1/devices/import", "x")
	a.expect(got, 415) // call says that it is JSON
	got = a.call(adminKey, "POST", "/v1/devices/import?format=csv", "id")
	a.expect(got, 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for _, w := range writers {
		w.Close()
		a.totals(<-ended, total(importBatch+1, importBatch, 0, 0, 1))
	}
}

// awaitDevice returns when an import has stored the device.
// Who has read an import's last line may begin the next one, though the answer has not ended yet.
func TestImportFollowsImport(t *testing.T) {
	a := start(t, redistest.Start(t))
	for range 300 {
		req, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/v1/devices/import?format=csv", strings.NewReader("id,unsigned\n"+imei(1)+",true\n"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+adminKey)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		last := ""
		for lines := bufio.NewScanner(resp.Body); !strings.Contains(last, `"done":true`) && lines.Scan(); {
			last = lines.Text()
		}
		if !strings.Contains(last, `"done":true`) {
			t.Fatalf("%d %s", resp.StatusCode, last)
		}
	}
}

func (a *testAPI) awaitDevice(id string) {
	a.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); a.call(adminKey, "GET", "/v1/devices/"+id, "").status != 200; {
		if time.Now().After(deadline) {
			a.t.Fatal("the first batch is not stored")
		}
	}
}

// An import that breaks off has no last line, and what it did stays.
func TestBrokenImportHasNoLastLine(t *testing.T) {
	a := start(t, redistest.Start(t))
	out := a.app("soon-gone", "device.write device.read")
	body, w := io.Pipe()
	ended := make(chan imported, 1)
	go func() { ended <- a.importFrom(out, "", typeNDJSON, body) }()
	for i := range importBatch {
		fmt.Fprintf(w, `{"id":"%s","unsigned":true}`+"\n", imei(i))
	}
	a.awaitDevice(imei(importBatch - 1))
	a.want(204, adminKey, "DELETE", "/v1/apps/soon-gone", "", nil)
	fmt.Fprintf(w, `{"id":"%s","unsigned":true}`+"\n", imei(importBatch))
	w.Close()
	if got := <-ended; got.total.Done || !strings.Contains(got.last, "has ended") {
		t.Errorf("%+v", got)
	}
	a.expect(a.call(adminKey, "GET", "/v1/devices/"+imei(0), ""), 200)
	a.expect(a.call(adminKey, "GET", "/v1/devices/"+imei(importBatch), ""), 404)
}

// One that breaks off in its first batch is refused as other requests are.
func TestImportThatNeverBegan(t *testing.T) {
	a := start(t, redistest.Start(t))
	status, text := 401, ""
	for range 50 { // the app may be gone before the request has come at all
		if status, text = a.importWhileAppGoes(); status != 401 {
			break
		}
	}
	if status != 403 || !strings.Contains(text, "has ended") {
		t.Errorf("%d %s", status, text)
	}
	a.expect(a.call(adminKey, "GET", "/v1/devices/"+imei1, ""), 404)
}

// importWhileAppGoes begins an import of an app that is removed before the body ends.
func (a *testAPI) importWhileAppGoes() (status int, text string) {
	a.t.Helper()
	key := a.app("soon-gone", "device.write")
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(a.t.Context(), "POST", a.url+"/v1/devices/import", body)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + key}, "Content-Type": {typeNDJSON}}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		fmt.Fprintf(w, `{"id":"%s","unsigned":true}`+"\n", imei1)
		a.want(204, adminKey, "DELETE", "/v1/apps/soon-gone", "", nil)
		w.Close()
	}()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	<-gone
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// manyRows are n devices, which nobody holds in memory.
func manyRows(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		buf := bufio.NewWriter(w)
		fmt.Fprintln(buf, "id,name,iccid,unsigned,labels")
		for i := range n {
			fmt.Fprintf(buf, "IMEI:%015d,Pump %d,893108%013d,true,site=s%d;kind=pump\n", 100000000000000+i, i, i, i%100)
		}
		w.CloseWithError(buf.Flush())
	}()
	return r
}

// A hundred thousand devices come and go in seconds, and in little memory.
func TestManyDevicesInLittleMemory(t *testing.T) {
	n := 100_000
	if raceEnabled {
		n = 20_000
	}
	a := start(t, redistest.Start(t))
	peak, stop := heapPeak()
	began := time.Now()
	a.totals(a.importFrom(adminKey, "", typeCSV, manyRows(n)), total(n, n, 0, 0, 0))
	created := time.Since(began)
	began = time.Now()
	resp := a.open("/v1/devices/export?format=csv")
	count := &lineCounter{}
	got := a.importFrom(adminKey, "", typeCSV, io.TeeReader(resp, count))
	back := time.Since(began)
	a.totals(got, total(n, 0, 0, n, 0))
	if stop(); *peak > 64<<20 {
		t.Errorf("%d MB of heap", *peak>>20)
	}
	t.Logf("created in %v, exported and imported in %v; %d bytes; heap grew by %d MB", created, back, count.bytes, *peak>>20)
}

type lineCounter struct{ bytes int }

func (c *lineCounter) Write(b []byte) (int, error) { c.bytes += len(b); return len(b), nil }

func (a *testAPI) open(path string) io.Reader {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), "GET", a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { resp.Body.Close() })
	return resp.Body
}

// heapPeak watches by how much the heap grows until stop.
func heapPeak() (peak *uint64, stop func()) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	base, end, ended := m.HeapInuse, make(chan struct{}), make(chan struct{})
	peak = new(uint64)
	go func() {
		defer close(ended)
		for every := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-end:
				every.Stop()
				return
			case <-every.C:
				runtime.ReadMemStats(&m)
				*peak = max(*peak, m.HeapInuse-min(base, m.HeapInuse))
			}
		}
	}()
	return peak, func() { close(end); <-ended }
}

func TestExportIsAnImportThatChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		names := []string{"=1+2", "'=1+2", "''+x", "'s-Hertogenbosch", "-7", "@x", `a "b", c;d`, " x ", "é€", "'", ""}
		for i, name := range names {
			body, err := json.Marshal(map[string]any{
				"id": imei(i), "secret": secretOf(imei(i)), "name": name, "ratePlan": name, "labels": map[string]string{"l": name, "m": `\;` + name},
				"iccid": "8931080019073497795", "requireToken": i%2 == 0, "disabled": i%3 == 0,
			})
			if err != nil {
				t.Fatal(err)
			}
			a.want(201, adminKey, "POST", "/v1/devices", string(body), nil)
		}
		a.want(201, adminKey, "POST", "/v1/devices", `{"id":"`+uuid1+`","unsigned":true,"sms":false,"msisdn":"31612345678"}`, nil)
		for format, media := range map[string]string{formatCSV: typeCSV, formatNDJSON: typeNDJSON} {
			file := a.call(adminKey, "GET", "/v1/devices/export?format="+format, "")
			if file.status != 200 || !strings.HasPrefix(file.header.Get("Content-Type"), media) || contains(file.body, "secret") || contains(file.body, secretOf(imei(0))) {
				t.Fatalf("%d %s", file.status, file.body)
			}
			for _, cell := range []string{",=", ",-", ",@", ",+"} {
				if format == formatCSV && contains(file.body, cell) {
					t.Errorf("a formula in %s", file.body)
				}
			}
			a.totals(a.importText("", media, string(file.body)), total(len(names)+1, 0, 0, len(names)+1, 0))
			// It restores what has changed.
			a.expect(a.patch(adminKey, "/v1/devices/"+imei(0), `{"name":"other","labels":null,"iccid":null,"disabled":false}`), 200)
			a.totals(a.importText("", media, string(file.body)), total(len(names)+1, 0, 1, len(names), 0))
			if again := a.call(adminKey, "GET", "/v1/devices/export?format="+format, ""); !bytes.Equal(again.body, file.body) {
				t.Errorf("%s\nwas %s", again.body, file.body)
			}
			some := a.call(adminKey, "GET", "/v1/devices/export?disabled=true&sort=-id&format="+format, "")
			if got := strings.Count(string(some.body), "IMEI:"); got != 4 {
				t.Errorf("%d disabled", got)
			}
		}
	})
}
