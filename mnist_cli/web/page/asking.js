// Questions to the program: one at a time, and of those that wait only the latest counts.

const post = (question) => fetch('ask', {
  method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: question,
});

const answerTo = async (question) => {
  // The server may have closed a connection that was silent for long: once more on a new one.
  const response = await post(question).catch(() => post(question));
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
};

export class Asker {
  #waiting = null;
  #busy = false;
  #age = 0;

  constructor({ onAnswer, onFailure }) {
    Object.assign(this, { onAnswer, onFailure });
  }

  // `onAnswer` is told with each answer whether it is to the latest question.
  ask(question) {
    this.#waiting = question;
    if (!this.#busy) this.#work();
  }

  // Whatever has been asked is no longer of interest.
  forget() {
    this.#waiting = null;
    this.#age += 1;
  }

  async #work() {
    this.#busy = true;
    while (this.#waiting !== null) {
      const question = this.#waiting, age = this.#age;
      this.#waiting = null;
      try {
        const answer = await answerTo(question);
        if (age === this.#age) this.onAnswer(answer, this.#waiting === null);
      } catch (error) {
        if (age === this.#age) this.onFailure(error);
      }
    }
    this.#busy = false;
  }
}
