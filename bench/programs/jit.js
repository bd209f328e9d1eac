// SPDX-License-Identifier: Apache-2.0
// JavaScript that a JIT compiles: objects and closures, integers, doubles, strings and maps.
'use strict';

class Task {
	constructor(id, priority) {
		this.id = id;
		this.priority = priority;
		this.queue = [];
		this.done = 0;
	}

	run(scheduler) {
		const packet = this.queue.shift();
		if (packet === undefined)
			return false;
		this.done++;
		if (packet.hops > 0)
			scheduler.send((this.id * 5 + packet.hops) % scheduler.tasks.length,
				{ hops: packet.hops - 1, data: packet.data ^ this.id });
		else
			scheduler.sum = (scheduler.sum + packet.data) | 0;
		return true;
	}
}

class Scheduler {
	constructor(count) {
		this.tasks = [];
		this.sum = 0;
		for (let i = 0; i < count; i++)
			this.tasks.push(new Task(i, i % 3));
	}

	send(to, packet) {
		this.tasks[to].queue.push(packet);
	}

	run() {
		for (let busy = true; busy;) {
			busy = false;
			for (const task of this.tasks)
				busy = task.run(this) || busy;
		}
		return this.sum;
	}
}

function tasks() {
	const scheduler = new Scheduler(16);
	for (let i = 0; i < 600; i++)
		scheduler.send(i % 16, { hops: 500, data: i });
	return scheduler.run();
}

function integers() {
	let crc = -1;
	for (let i = 0; i < 4000000; i++) {
		crc ^= i & 0xff;
		for (let bit = 0; bit < 4; bit++)
			crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
	}
	return crc >>> 0;
}

function doubles() {
	const n = 90, c = new Float64Array(n * n);
	const a = new Float64Array(n * n).map((_, i) => (i % 17) / 16);
	for (let turn = 0; turn < 6; turn++) {
		for (let i = 0; i < n; i++) {
			for (let j = 0; j < n; j++) {
				let sum = 0;
				for (let k = 0; k < n; k++)
					sum += a[i * n + k] * a[k * n + j];
				c[i * n + j] = sum;
			}
		}
	}
	return c.reduce((x, y) => x + y);
}

function words() {
	const counts = new Map();
	let seed = 42;
	for (let i = 0; i < 750000; i++) {
		seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
		const word = 'w' + (seed >> 16) % 5000;
		counts.set(word, (counts.get(word) || 0) + 1);
	}
	const order = (x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1);
	return [...counts].sort(order).slice(0, 3).join(' ');
}

console.log(tasks(), integers(), doubles(), words());
