// An SMSC on the npm package smpp, which decodes what it is sent by its own tables. It says what it sees in lines of JSON
// on its output, and ends when its input does. The last four digits of a destination say what it is to do:
//
//   0001  refuse: ESME_RINVDSTADR       0005  answer after 1 s
//   0002  refuse: ESME_RTHROTTLED       0006  receipt by data_sm with TLVs, state UNDELIVERABLE
//   0003  never answer                  0007  receipt before the answer
//   0004  end the connection            0008  send a message back, with the same text
//
// Ids in answers are hexadecimal, in receipts decimal with leading zeros. A receipt is sent until it is taken.
'use strict';
const fs = require('fs');
const smpp = require('smpp');

const options = {};
if (process.env.TLS_KEY) {
	options.key = fs.readFileSync(process.env.TLS_KEY);
	options.cert = fs.readFileSync(process.env.TLS_CERT);
}
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
let lastID = 0x1a2a;

function receipt(session, pdu, id, tries) {
	const text = 'id:' + String(id).padStart(10, '0') + ' sub:001 dlvrd:001 submit date:2611270214 done date:2611270215 stat:DELIVRD err:000 text:';
	const common = {
		esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
		source_addr_ton: pdu.dest_addr_ton, source_addr_npi: pdu.dest_addr_npi, source_addr: pdu.destination_addr,
		dest_addr_ton: pdu.source_addr_ton, dest_addr_npi: pdu.source_addr_npi, destination_addr: pdu.source_addr,
	};
	const answered = (resp) => {
		say({receiptAnswer: resp.command_status, command: resp.command});
		if (resp.command_status !== 0 && tries < 5) receipt(session, pdu, id, tries + 1);
	};
	if (pdu.destination_addr.endsWith('0006')) {
		session.data_sm(Object.assign(common, {
			receipted_message_id: id.toString(16), message_state: smpp.MESSAGE_STATE.UNDELIVERABLE,
			network_error_code: Buffer.from([3, 0, 27]), message_payload: text,
		}), answered);
		return;
	}
	session.deliver_sm(Object.assign(common, {short_message: text}), answered);
}

function submit(session, pdu) {
	const message = pdu.message_payload !== undefined ? pdu.message_payload : pdu.short_message;
	say({submit: {
		source: [pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr].join(' '),
		destination: [pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr].join(' '),
		coding: pdu.data_coding, esm: pdu.esm_class, validity: pdu.validity_period, receipt: pdu.registered_delivery,
		reference: pdu.user_message_reference, sar: [pdu.sar_msg_ref_num, pdu.sar_total_segments, pdu.sar_segment_seqnum],
		udh: (message.udh || []).map((e) => e.toString('hex')),
		text: typeof message.message === 'string' ? message.message : '',
		hex: Buffer.isBuffer(message.message) ? message.message.toString('hex') : '',
		payload: pdu.message_payload !== undefined,
	}});
	const id = ++lastID;
	const accept = () => session.send(pdu.response({message_id: id.toString(16).toUpperCase()}));
	switch (pdu.destination_addr.slice(-4)) {
	case '0001': session.send(pdu.response({command_status: smpp.ESME_RINVDSTADR})); return;
	case '0002': session.send(pdu.response({command_status: smpp.ESME_RTHROTTLED})); return;
	case '0003': return;
	case '0004': session.destroy(); return;
	case '0005': setTimeout(accept, 1000); break;
	case '0007': receipt(session, pdu, id, 1); setTimeout(accept, 300); return;
	case '0008':
		accept();
		session.deliver_sm({source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, data_coding: pdu.data_coding, short_message: message.message});
		return;
	default: accept();
	}
	if (pdu.registered_delivery & 1) receipt(session, pdu, id, 1);
}

const server = smpp.createServer(options, (session) => {
	session.on('error', (e) => say({error: String(e)}));
	session.on('bind_transceiver', (pdu) => {
		say({bind: {system_id: pdu.system_id, password: pdu.password, system_type: pdu.system_type, version: pdu.interface_version}});
		if (pdu.password === 'wrong') {
			session.send(pdu.response({command_status: smpp.ESME_RINVPASWD}));
			session.close();
			return;
		}
		session.send(pdu.response({system_id: 'node'}));
		session.enquire_link({}, (resp) => say({enquireAnswer: resp.command}));
	});
	session.on('submit_sm', (pdu) => submit(session, pdu));
	session.on('enquire_link', (pdu) => session.send(pdu.response()));
	session.on('unbind', (pdu) => { say({unbind: true}); session.send(pdu.response()); session.close(); });
	session.on('unknown', (pdu) => session.send(pdu.response()));
});
server.listen(0, '127.0.0.1', () => say({port: server.address().port}));
process.stdin.on('data', () => {}).on('close', () => process.exit(0));
