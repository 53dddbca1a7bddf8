// Questions to the program: one at a time; a newer question replaces the one that waits.

const answerTo = async (question) => {
  const response = await fetch('ask', {
    method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: question,
  });
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

  // `onAnswer` gets each answer, and whether it is to the latest question.
  ask(question) {
    this.#waiting = question;
    if (!this.#busy) this.#work();
  }

  // Ignore the answers to all questions so far.
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
